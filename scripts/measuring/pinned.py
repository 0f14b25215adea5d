"""Servers and the generator on cores of their own, and figures of several rounds."""

import contextlib
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from .server import BUILD

SERVER_CORE, GENERATOR_CORE = 0, (os.cpu_count() or 1) - 1
# Two-sided 95 % quantiles of Student's t for 2, 3, … rounds.
STUDENT = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26]
SPIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"


def on_core(core):
    """What goes before a command so that it keeps to this core."""
    return ["taskset", "--cpu-list", str(core)]


def bench(*arguments, core=GENERATOR_CORE):
    """One measurement of the `bench` program."""
    command = [*on_core(core), BUILD / "bench", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


def load(port, path, body, headers=None, **options):
    """Requests from the generator's core; `headers` do not show in the list of processes."""
    with tempfile.TemporaryDirectory() as folder:
        content, secret = pathlib.Path(folder, "body"), pathlib.Path(folder, "headers")
        content.write_bytes(body)
        secret.write_text("".join(f"{name}: {value}\n" for name, value in (headers or {}).items()))
        more = [part for name, value in options.items()
                for part in (f"--{name.replace('_', '-')}", *([] if value is True else [value]))]
        figures = bench("load", "--address", f"127.0.0.1:{port}", "--path", path, "--body", content,
                        "--header-file", secret, *more)
    assert figures["other"] == 0, figures
    return figures


def limit(model, shape, seconds):
    """The runtime in process, where the servers run."""
    library = os.environ.get("ORT_DYLIB_PATH", ".onnxruntime/libonnxruntime.so")
    return bench("limit", "--model", model, "--shape", ",".join(map(str, shape)), "--seconds", seconds,
                 "--library", library, core=SERVER_CORE)


@contextlib.contextmanager
def kept_awake():
    """No core sleeps: on a virtual machine, waking one takes longer than everything that is measured here.

    What keeps them awake has the lowest class of priority and gives way to anything else at once.
    """
    spinners = [subprocess.Popen([sys.executable, "-c", SPIN, str(core)]) for core in {SERVER_CORE, GENERATOR_CORE}]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def cpu_seconds(pid):
    """What a process has used of the processors; in steps of a hundredth of a second."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid):
    """Memory of a process and all that descend from it; pages that several share count once."""
    total = 0
    for process in descendants(pid):
        with contextlib.suppress(OSError):
            lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def descendants(pid):
    yield pid
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from descendants(int(child))


def interval(values):
    """Mean and half of its 95 % interval."""
    if len(values) < 2:
        return values[0], math.inf
    factor = STUDENT[min(len(values), len(STUDENT) + 1) - 2]
    return statistics.mean(values), factor * statistics.stdev(values) / math.sqrt(len(values))


def shown(values, digits=1):
    mean, half = interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"
