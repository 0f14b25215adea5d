"""What batching gives callers who come at once, and that it takes nothing from one who comes alone."""

import array
import pathlib
import statistics
import tempfile

from . import onnx_file, pinned, tiny
from .server import Server, stores_of

WIDTH, LAYERS = 512, 8
ROUNDS = 3
SECONDS = 3
CONNECTIONS = [1, 8, 32, 64]
MIN_GAIN = 3
MODELS = {"off": "[runtime]\ninstances = 1\n", "on": "[runtime]\ninstances = 1\n[batching]\nmax_rows = 64\n"}


def measure_batching():
    with tempfile.TemporaryDirectory() as folder, pinned.kept_awake():
        models = pathlib.Path(folder) / "models"
        for name, settings in MODELS.items():
            (models / name / "1").mkdir(parents=True)
            (models / name / "model.toml").write_text(settings)
            (models / name / "1/model.onnx").write_bytes(onnx_file.layers(WIDTH, LAYERS))
        with Server(folder, stores_of("embedded"), models, core=pinned.SERVER_CORE) as server:
            token = server.credentials()["token"]
            rounds = [{name: each(server, token, name) for name in MODELS} for _ in range(ROUNDS)]
    return {(name, connections): [each[name][connections] for each in rounds] for name in MODELS for connections in CONNECTIONS}


def each(server, token, model):
    body, media = tiny.binary_request("x", (1, WIDTH), array.array("f", [0.5] * WIDTH).tobytes())
    path = f"/v2/models/{model}/infer"
    return {connections: pinned.load(server.port, path, body, {**token, **media}, connections=connections, seconds=SECONDS)
            for connections in CONNECTIONS}


def middle(rounds, figure):
    return statistics.median(each[figure] for each in rounds)


def report_batching(figures):
    lines = [f"| medians of {ROUNDS} rounds of {SECONDS} s | off: a second | p50 µs | p99 µs | on: a second | p50 µs | p99 µs | gain |",
             "|---|---|---|---|---|---|---|---|"]
    for connections in CONNECTIONS:
        cells = [f"{middle(figures[name, connections], figure):.0f}" for name in ("off", "on")
                 for figure in ("per second", "p50 us", "p99 us")]
        lines.append(f"| {connections} connections | {' | '.join(cells)} | × {gain(figures, connections):.2f} |")
    return "\n".join(lines)


def gain(figures, connections):
    return middle(figures["on", connections], "per second") / middle(figures["off", connections], "per second")


def missed_batching(figures):
    if gain(figures, 32) < MIN_GAIN:
        yield f"batching gives × {gain(figures, 32):.2f} at 32 connections"
    later = [on["p50 us"] - off["p50 us"] for on, off in zip(figures["on", 1], figures["off", 1])]
    mean, half = pinned.interval(later)
    if mean - half > 0:
        yield f"batching adds {mean:.0f} µs for one caller"
