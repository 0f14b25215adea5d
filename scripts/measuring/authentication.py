"""What it costs to know a caller again, without HTTP (`bench authenticate`)."""

import os

from . import pinned

MAX_US = 3.0
# Admission, by a trip to a Redis on the same machine.
MAX_REDIS_US = 100.0


def measure_authentication():
    with pinned.kept_awake():
        return pinned.bench("authenticate", "--redis", os.environ["TEST_REDIS_URL"], core=pinned.SERVER_CORE)


def wanted_of(name):
    """The most microseconds at p50, where there is a bound."""
    if name.startswith("authenticate"):
        return MAX_US
    return MAX_REDIS_US if "Redis" in name else None


def report_authentication(figures):
    lines = ["| one call, medians and 99th percentiles of batches of 1000, of keys in turns of 10 | p50 µs | p99 µs | wanted |", "|---|---|---|---|"]
    for name, row in figures.items():
        wanted = f"< {wanted_of(name):.0f} µs" if wanted_of(name) else "–"
        lines.append(f"| {name} | {row['p50 us']:.2f} | {row['p99 us']:.2f} | {wanted} |")
    return "\n".join(lines)


def missed_authentication(figures):
    for name, row in figures.items():
        if wanted_of(name) and row["p50 us"] >= wanted_of(name):
            yield f"{name} takes {row['p50 us']:.2f} µs"
