"""How near the server is to the runtime alone, with everything on: tokens, keys, limits, quotas, audit and metrics."""

import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import time

from . import pinned, tiny
from .server import BUILD, ROOT, Server, stores_of, throwaway

ROUNDS = 5
SECONDS = 3
CONNECTIONS = 32
MAX_OVERHEAD_US = {"embedded": 100, "shared": 150}
MIN_SHARE = 0.6
MAX_SECURITY_US = 5


def measure_limit(pair):
    """Rounds in which the runtime, the bare fronts and the server take turns on the same core."""
    rounds = []
    with tempfile.TemporaryDirectory() as folder, front(pair) as (bare, bare_pid):
        with Server(folder, stores_of(pair), core=pinned.SERVER_CORE) as server:
            server.set_quotas()
            credentials = server.credentials()
            for _ in range(ROUNDS):
                rounds.append(one_round(pair, bare, bare_pid, server, credentials))
    return {"pair": pair, "rounds": rounds}


@contextlib.contextmanager
def front(pair):
    """The bare front of the bench package: its port and process."""
    port = free_port()
    command = [*pinned.on_core(pinned.SERVER_CORE), BUILD / "bench", "front", "--port", str(port), "--models", ROOT / "models"]
    if pair == "shared":
        command += ["--redis", throwaway("TEST_REDIS_URL")]
    library = os.environ.get("ORT_DYLIB_PATH", str(ROOT / ".onnxruntime/libonnxruntime.so"))
    process = subprocess.Popen(command, env={**os.environ, "ORT_DYLIB_PATH": library}, stdout=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port, process):
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "the front did not start"
        time.sleep(0.05)
    raise SystemExit("bench: the front did not start in 30 s")


def one_round(pair, bare, bare_pid, server, credentials):
    body, media = tiny.binary_request()
    headers = {**credentials["token"], **media}
    path = "/v2/models/digits/infer"
    figures = {"raw": pinned.limit(tiny.MODEL, (1, tiny.WIDTH), SECONDS)}
    alone = {"connections": 1, "seconds": SECONDS}
    # What keeps the cores awake beside many callers takes from them; a generator that never sleeps does not.
    many = {"connections": CONNECTIONS, "seconds": SECONDS, "sleepless": True}
    with pinned.kept_awake():
        figures["hello 1"] = pinned.load(bare, "/hello", tiny.RAW, **alone)
        figures["front 1"] = pinned.load(bare, "/models/digits", tiny.RAW, **alone)
        figures["binary 1"] = pinned.load(server.port, path, body, headers, **alone)
    floor = "/script" if pair == "shared" else "/hello"
    figures["floor 32"] = with_cpu(bare_pid, bare, floor, tiny.RAW, None, many)
    figures["hello 32"] = with_cpu(bare_pid, bare, "/hello", tiny.RAW, None, many)
    figures["front 32"] = with_cpu(bare_pid, bare, "/models/digits", tiny.RAW, None, many)
    figures["binary, token 32"] = with_cpu(server.process.pid, server.port, path, body, headers, many)
    figures["binary, key 32"] = with_cpu(server.process.pid, server.port, path, body, {**credentials["key"], **media}, many)
    body, media = tiny.json_request()
    figures["JSON, token 32"] = with_cpu(server.process.pid, server.port, path, body, {**credentials["token"], **media}, many)
    return figures


def with_cpu(pid, port, path, body, headers, options):
    """The load's figures, with the processor time that each request took the server; nothing is left out at the start."""
    before = pinned.cpu_seconds(pid)
    figures = pinned.load(port, path, body, headers, warm_up=0, **options)
    return {**figures, "cpu us": (pinned.cpu_seconds(pid) - before) / figures["requests"] * 1e6}


def values(rounds, name, figure):
    return [each[name][figure] for each in rounds]


def overheads(rounds):
    return [each["binary 1"]["p50 us"] - each["raw"]["p50 us"] for each in rounds]


def goals(rounds):
    """What the web alone (with one script of Redis) and the raw run allow, a second, one after the other."""
    return [1 / (1 / each["floor 32"]["per second"] + 1 / each["raw"]["per second"]) for each in rounds]


def shares(rounds, name):
    return [each[name]["per second"] / goal for each, goal in zip(rounds, goals(rounds))]


def prices(rounds):
    """Processor time of a request beyond the bare front's, and beyond what one script costs that front."""
    return [each["binary, token 32"]["cpu us"] - each["front 32"]["cpu us"]
            - (each["floor 32"]["cpu us"] - each["hello 32"]["cpu us"]) for each in rounds]


def report_limit(pair, figures):
    rounds = figures["rounds"]
    row = lambda name, label: (f"| {label} | {pinned.shown(values(rounds, name, 'per second'), 0)} | "
                               f"{statistics.median(values(rounds, name, 'p50 us')):.0f} | "
                               f"{statistics.median(values(rounds, name, 'p99 us')):.0f} | "
                               f"{pinned.shown(values(rounds, name, 'cpu us')) if 'cpu us' in rounds[0][name] else '–'} |")
    lines = [f"| {pair}, {ROUNDS} rounds of {SECONDS} s | a second | p50 µs | p99 µs | CPU µs a request |", "|---|---|---|---|---|",
             row("raw", "the runtime in process"), row("hello 1", "bare actix-web, one caller"),
             row("front 1", "bare front with the inference crate, one caller"), row("binary 1", "Modelgate, binary tensors, one caller"),
             row("hello 32", f"bare actix-web, {CONNECTIONS} connections")]
    if pair == "shared":
        lines.append(row("floor 32", f"bare actix-web and one script of Redis, {CONNECTIONS} connections"))
    lines += [row("front 32", f"bare front with the inference crate, {CONNECTIONS} connections")]
    lines += [row(f"{name} 32", f"Modelgate, {name}, {CONNECTIONS} connections") for name in ("binary, token", "binary, key", "JSON, token")]
    goal = pinned.shown(goals(rounds), 0)
    lines += ["", f"| {pair} | figure | wanted |", "|---|---|---|",
              f"| over the raw runtime, one caller, p50 | {pinned.shown(overheads(rounds))} µs | < {MAX_OVERHEAD_US[pair]} µs |",
              f"| share of {goal} a second, which web and run allow: token | {pinned.shown(shares(rounds, 'binary, token 32'), 2)} | ≥ {MIN_SHARE} |",
              f"| the same: key | {pinned.shown(shares(rounds, 'binary, key 32'), 2)} | ≥ {MIN_SHARE} |",
              f"| the price of security, CPU a request{' beside the script' if pair == 'shared' else ''} | {pinned.shown(prices(rounds))} µs | ≤ {MAX_SECURITY_US} µs |"]
    return "\n".join(lines)


def missed_limit(figures):
    pair, rounds = figures["pair"], figures["rounds"]
    overhead, half = pinned.interval(overheads(rounds))
    if overhead - half > MAX_OVERHEAD_US[pair]:
        yield f"{overhead:.0f} µs over the raw runtime (target: {MAX_OVERHEAD_US[pair]})"
    share, half = pinned.interval(shares(rounds, "binary, token 32"))
    if share + half < MIN_SHARE:
        yield f"{share:.2f} of what web and run allow (target: {MIN_SHARE})"
    price, half = pinned.interval(prices(rounds))
    if price - half > MAX_SECURITY_US:
        yield f"security costs {price:.1f} µs of processor time a request (target: {MAX_SECURITY_US})"
