"""What it costs to know a caller again, without HTTP (`bench authenticate`)."""

import json
import subprocess

from .server import BUILD

MAX_US = 3.0


def measure_authentication():
    return json.loads(subprocess.run([BUILD / "bench", "authenticate"], check=True, capture_output=True, text=True).stdout)


def report_authentication(figures):
    lines = ["| one call, medians and 99th percentiles of batches of 1000 | p50 µs | p99 µs | wanted |", "|---|---|---|---|"]
    for name, row in figures.items():
        wanted = f"< {MAX_US:.0f} µs" if name.startswith("authenticate") else "–"
        lines.append(f"| {name} | {row['p50 us']:.2f} | {row['p99 us']:.2f} | {wanted} |")
    return "\n".join(lines)


def missed_authentication(figures):
    for name, row in figures.items():
        if name.startswith("authenticate") and row["p50 us"] >= MAX_US:
            yield f"{name} takes {row['p50 us']:.2f} µs"
