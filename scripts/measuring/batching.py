"""What batching gives callers who come at once, and that it takes nothing from one who comes alone."""

import array
import pathlib
import statistics
import tempfile

from . import onnx_file, pinned, tiny
from .server import Server, stores_of

# The weights of the narrower fit into many processors' caches (8 MiB), those of the wider into few (32 MiB): there a run waits for
# memory, and the rows of a batch wait together.
WIDTHS, LAYERS = [512, 1024], 8
ROUNDS = 3
SECONDS = 3
CONNECTIONS = [1, 8, 32, 64]
MIN_GAIN = 3
MODELS = {"off": "[runtime]\ninstances = 1\n", "on": "[runtime]\ninstances = 1\n[batching]\nmax_rows = 64\n"}


def measure_batching():
    with tempfile.TemporaryDirectory() as folder, pinned.kept_awake():
        models = pathlib.Path(folder) / "models"
        for width in WIDTHS:
            for name, settings in MODELS.items():
                model = models / f"{name}-{width}"
                (model / "1").mkdir(parents=True)
                (model / "model.toml").write_text(settings)
                (model / "1/model.onnx").write_bytes(onnx_file.layers(width, LAYERS))
        with Server(folder, stores_of("embedded"), models, core=pinned.SERVER_CORE) as server:
            token = server.credentials()["token"]
            return {width: measure_width(server, token, width) for width in WIDTHS}


def measure_width(server, token, width):
    """By `off` or `on` and the number of connections the figures of each round."""
    rounds = [{name: each(server, token, name, width) for name in MODELS} for _ in range(ROUNDS)]
    return {(name, connections): [each[name][connections] for each in rounds] for name in MODELS for connections in CONNECTIONS}


def each(server, token, name, width):
    body, media = tiny.binary_request("x", (1, width), array.array("f", [0.5] * width).tobytes())
    path = f"/v2/models/{name}-{width}/infer"
    return {connections: pinned.load(server.port, path, body, {**token, **media}, connections=connections, seconds=SECONDS)
            for connections in CONNECTIONS}


def middle(rounds, figure):
    return statistics.median(each[figure] for each in rounds)


def report_batching(figures):
    return "\n\n".join(table(width, of_width) for width, of_width in figures.items())


def table(width, figures):
    lines = [f"| {LAYERS} layers of {width}, medians of {ROUNDS} rounds of {SECONDS} s | off: a second | p50 µs | p99 µs | on: a second | p50 µs | p99 µs | gain |",
             "|---|---|---|---|---|---|---|---|"]
    for connections in CONNECTIONS:
        cells = [f"{middle(figures[name, connections], figure):.0f}" for name in ("off", "on")
                 for figure in ("per second", "p50 us", "p99 us")]
        lines.append(f"| {connections} connections | {' | '.join(cells)} | × {gain(figures, connections):.2f} |")
    return "\n".join(lines)


def gain(figures, connections):
    return middle(figures["on", connections], "per second") / middle(figures["off", connections], "per second")


def missed_batching(figures):
    for width, of_width in figures.items():
        for reason in missed_width(of_width):
            yield f"{width} wide: {reason}"


def missed_width(figures):
    if gain(figures, 32) < MIN_GAIN:
        yield f"batching gives × {gain(figures, 32):.2f} at 32 connections (target: {MIN_GAIN})"
    later = [on["p50 us"] - off["p50 us"] for on, off in zip(figures["on", 1], figures["off", 1])]
    mean, half = pinned.interval(later)
    if mean - half > 0:
        yield f"batching adds {mean:.0f} µs for one caller"
