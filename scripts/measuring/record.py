"""What the recorded profile brings: the program as `scripts/build` makes it beside a plain release build."""

import contextlib
import pathlib
import statistics
import tempfile

from . import pinned, tiny
from .server import BINARY, ROOT, Server, stores_of

PLAIN = ROOT / "target/plain/release/modelgate"
ROUNDS = 8
SECONDS = 1
CONNECTIONS = [1, 32]


def measure_record(pair):
    """Processor time a request and p50, in µs, of each program by connections; and what is resident afterwards."""
    with contextlib.ExitStack() as stack:
        servers = {name: started(stack, pair, binary) for name, binary in [("plain", PLAIN), ("recorded", BINARY)]}
        figures = {connections: in_turns(servers, connections) for connections in CONNECTIONS}
        return {"rounds": figures, "resident": {name: server.resident_mib() for name, (server, _) in servers.items()}}


def started(stack, pair, binary):
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    server = stack.enter_context(Server(folder, stores_of(pair), core=pinned.SERVER_CORE, binary=pathlib.Path(binary)))
    server.set_quotas()
    return server, server.credentials()["token"]


def in_turns(servers, connections):
    body, media = tiny.binary_request()
    seen = {name: [] for name in servers}
    with pinned.kept_awake() if connections == 1 else contextlib.nullcontext():
        for _ in range(ROUNDS):
            for name, (server, token) in servers.items():
                before = pinned.cpu_seconds(server.process.pid)
                figures = pinned.load(server.port, "/v2/models/digits/infer", body, {**token, **media}, warm_up=0,
                                      connections=connections, seconds=SECONDS)
                spent = pinned.cpu_seconds(server.process.pid) - before
                seen[name].append((spent / figures["requests"] * 1e6, figures["p50 us"]))
    return seen


def report_record(pair, figures):
    lines = [f"| {pair}, medians of {ROUNDS} turns of {SECONDS} s | CPU µs a request, plain | with the record | ratio | p50 µs, plain | with the record |",
             "|---|---|---|---|---|---|"]
    for connections, seen in figures["rounds"].items():
        (plain, plain_p50), (recorded, p50) = (map(statistics.median, zip(*seen[name])) for name in ("plain", "recorded"))
        ratio = statistics.median(after[0] / before[0] for before, after in zip(seen["plain"], seen["recorded"]))
        lines.append(f"| {connections} connections | {plain:.1f} | {recorded:.1f} | × {ratio:.2f} | {plain_p50:.0f} | {p50:.0f} |")
    plain, recorded = (figures["resident"][name] for name in ("plain", "recorded"))
    return "\n".join([*lines, "", f"Resident afterwards: {recorded:.1f} MiB, and {plain:.1f} of the plain one."])
