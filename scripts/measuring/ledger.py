"""What the usage ledger, the quotas and the audit trail take of the server's processor time under load.

There is no switch that would turn them off, so the processor's time is sampled (`perf record`) and each sample counted where the
chain of calls, functions that were inlined included, passes through them. That takes a build with line tables, target/profiling.
"""

import collections
import math
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from . import pinned, tiny
from .server import BUILD, Server, stores_of

PROFILED = BUILD.parent / "profiling" / "modelgate"

CONNECTIONS = 8
SECONDS = 30
WARM_UP = 3
# A prime number a second: nothing that happens at a round interval is always or never seen.
SAMPLES_PER_SECOND = 293
STACK_BYTES = 8192
# Fewer samples than this tell nothing of a part of 2 %.
LEAST_SAMPLES = 2000
MAX_SHARE = 0.02
# What is counted, by a part of a function's path; a sample counts once, for the first of these that its chain passes.
PARTS = {
    "audit trail": r"auth::audit\b|modelgate::seals\b|storage::audit",
    "usage ledger": r"\bmetering\b|modelgate::run\b|storage::usage",
    "quotas": r"auth::quotas\b|storage::quotas|\bQuotaLease\b|\bQuotaBook\b",
}
# Threads whose whole time is theirs are not told apart by chains: SQLite has one for each connection.
DATABASE_THREAD = re.compile(r"sqlx-sqlite")


def measure_ledger(pair):
    if not shutil.which("perf"):
        raise SystemExit("bench: the ledger's share needs perf (linux-perf, linux-tools)")
    with pinned.kept_awake():
        return {words: sampled(pair, has_quotas) for words, has_quotas in [("no quota", False), ("two quotas", True)]}


def sampled(pair, has_quotas):
    """Samples by part, of a server that answers as much as it can."""
    with tempfile.TemporaryDirectory() as folder, Server(
            folder, stores_of(pair), core=pinned.SERVER_CORE, binary=PROFILED) as server:
        if has_quotas:
            server.set_quotas()
        key = server.credentials()["key"]
        body, media = tiny.binary_request()
        record = pathlib.Path(folder) / "perf.data"
        # It begins when the load runs, and ends before the load does.
        perf = subprocess.Popen(
            ["sh", "-c", f"sleep {WARM_UP}; exec perf record --quiet --freq {SAMPLES_PER_SECOND} --call-graph dwarf,{STACK_BYTES} "
             f"--pid {server.process.pid} --output {record} -- sleep {SECONDS}"])
        try:
            load = pinned.load(server.port, "/v2/models/digits/infer", body, {**key, **media}, connections=CONNECTIONS,
                               seconds=SECONDS + 2 * WARM_UP)
        finally:
            perf.wait(timeout=120)
        return {**counted(record), "per second": load["per second"]}


def counted(record):
    chains = list(chains_of(record))
    names = names_of({address for _, addresses in chains for address in addresses})
    counts = collections.Counter()
    for thread, addresses in chains:
        counts[part_of(thread, (name for address in addresses for name in names[address]))] += 1
    if len(chains) < LEAST_SAMPLES:
        raise SystemExit(f"bench: {len(chains)} samples are too few; is the server busy, and may perf sample it?")
    if not any(counts[part] for part in PARTS):
        raise SystemExit(f"bench: {PROFILED} has no names of inlined functions: build it with --profile profiling")
    return {"samples": len(chains), **{part: counts[part] for part in [*PARTS, "database"]}}


def part_of(thread, names):
    """The part that a sample belongs to; none, where it belongs to what is measured against."""
    if DATABASE_THREAD.search(thread):
        return "database"
    text = "\n".join(names)
    return next((part for part, path in PARTS.items() if re.search(path, text)), None)


def chains_of(record):
    """Of each sample the thread's name, and of its chain, the innermost first, what is in the program's file."""
    script = subprocess.Popen(["perf", "script", "--input", record, "--no-inline", "--fields", "comm,tid,ip,dso"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    program, segments = os.path.realpath(PROFILED), segments_of(PROFILED)
    with script:
        thread, addresses = None, []
        for line in script.stdout:
            if not line.strip():
                if thread:
                    yield thread, addresses
                thread, addresses = None, []
            elif thread is None:
                thread = line.rsplit(None, 1)[0].strip()
            elif line.rstrip().endswith(f"({program})"):
                # perf tells where in the file it is, which is not the address that the file gives it.
                offset = int(line.split()[0], 16)
                found = [offset - start + address for start, size, address in segments if start <= offset < start + size]
                # Where a call returns to; one less is in the call.
                addresses += [address - 1 for address in found[:1]]
        if thread:
            yield thread, addresses


def segments_of(program):
    """Where the program's file says that its loaded parts lie: (offset in the file, size, address)."""
    text = subprocess.run(["readelf", "--segments", "--wide", program], check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"^\s+LOAD\s+(0x\w+)\s+(0x\w+)\s+0x\w+\s+(0x\w+)", text, re.M)
    return [(int(offset, 16), int(size, 16), int(address, 16)) for offset, address, size in rows]


def names_of(addresses):
    """The functions at each address, those that were inlined there included, the innermost first."""
    asked = "".join(f"{address:#x}\n" for address in addresses)
    told = subprocess.run(["addr2line", "--exe", PROFILED, "--functions", "--inlines", "--demangle=rust", "--addresses"], input=asked,
                          check=True, capture_output=True, text=True, timeout=1800).stdout
    # An address, then a line of each function and a line of its place.
    lines_at, current = {}, []
    for line in told.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", line):
            current = lines_at.setdefault(int(line, 16), [])
        else:
            current.append(line)
    return {address: lines_at.get(address, [])[::2] for address in addresses}


def share(figures, part):
    """A part's share, and half of its 95 % interval."""
    of = figures[part] / figures["samples"]
    return of, 1.96 * math.sqrt(of * (1 - of) / figures["samples"])


def together(figures):
    """The shares of the ledger, the quotas and the trail, which is what has a bound."""
    return sum(share(figures, part)[0] for part in PARTS)


def report_ledger(pair, figures):
    lines = [f"| {pair}, {SECONDS} s, {CONNECTIONS} connections | {' | '.join(figures)} |", "|---|" + "---|" * len(figures)]
    for part in [*PARTS, "database"]:
        shares = [share(row, part) for row in figures.values()]
        name = "threads of the database" if part == "database" else part
        lines.append(f"| {name} | " + " | ".join(f"{100 * of:.2f} ± {100 * half:.2f} %" for of, half in shares) + " |")
    lines.append("| ledger, quotas and trail together | " + " | ".join(f"{100 * together(row):.2f} %" for row in figures.values()) + " |")
    lines.append("| samples | " + " | ".join(str(row["samples"]) for row in figures.values()) + " |")
    lines.append("| requests a second, while sampled | " + " | ".join(f"{row['per second']:.0f}" for row in figures.values()) + " |")
    return "\n".join(lines)


def missed_ledger(figures):
    for words, row in figures.items():
        if together(row) >= MAX_SHARE:
            yield f"with {words} ledger, quotas and audit trail take {100 * together(row):.1f} % of the processor's time"
