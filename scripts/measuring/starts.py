"""How fast a server is ready, and what memory it takes then."""

import statistics
import tempfile
import time

from .server import Server, stores_of

STARTS = 7
SETTLE_SECONDS = 1.0
MAX_START_MS = 500
MAX_RESIDENT_MIB = 70


def measure_starts(pair):
    stores, starts, resident = stores_of(pair), [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(STARTS):
            with Server(folder, stores) as server:
                starts.append(server.start_ms)
                time.sleep(SETTLE_SECONDS)
                resident.append(server.resident_mib())
    # The first start makes the database and the keys.
    return {"first start ms": starts[0], "start ms": statistics.median(starts[1:]), "resident MiB": max(resident)}


def report_starts(pair, figures):
    rows = [("first start to ready (makes database and keys)", f"{figures['first start ms']:.0f} ms", "–"),
            (f"start to ready, median of {STARTS - 1}", f"{figures['start ms']:.0f} ms", f"< {MAX_START_MS} ms"),
            (f"resident after start, largest of {STARTS}", f"{figures['resident MiB']:.1f} MiB", f"< {MAX_RESIDENT_MIB} MiB")]
    return "\n".join([f"| {pair} | figure | wanted |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def missed_starts(figures):
    if figures["start ms"] >= MAX_START_MS:
        yield f"start took {figures['start ms']:.0f} ms"
    if figures["resident MiB"] >= MAX_RESIDENT_MIB:
        yield f"{figures['resident MiB']:.1f} MiB resident"
