"""What a response cache costs where nothing ever hits, and what a hit saves."""

import pathlib
import statistics
import subprocess
import tempfile

from . import pinned, tiny
from .server import ROOT, Server, stores_of

ROUNDS = 5
SECONDS = 3
CONNECTIONS = 8
# The first element of the tensor counts the requests, so that no two are the same.
CASES = {"no cache": ("plain", True), "cache, never a hit": ("cached", True), "cache, all hits": ("cached", False)}
MAX_LOSS = 0.02


def measure_caching():
    with tempfile.TemporaryDirectory() as folder, pinned.kept_awake():
        models = pathlib.Path(folder) / "models"
        models.mkdir()
        for name, more in [("plain", ""), ("cached", "\n[cache]\n")]:
            subprocess.run(["cp", "-rL", ROOT / "models/digits", models / name], check=True)
            with open(models / name / "model.toml", "a") as settings:
                settings.write(more)
        with Server(folder, stores_of("embedded"), models, core=pinned.SERVER_CORE) as server:
            token = server.credentials()["token"]
            rounds = [{name: each(server, token, number, *case) for name, case in CASES.items()} for number in range(ROUNDS)]
    return {name: [each[name] for each in rounds] for name in CASES}


def each(server, token, number, model, varies):
    body, media = tiny.binary_request()
    more = {"count_at": len(body) - len(tiny.RAW), "count_from": number * 1_000_000} if varies else {}
    return pinned.load(server.port, f"/v2/models/{model}/infer", body, {**token, **media}, connections=CONNECTIONS,
                       seconds=SECONDS, **more)


def losses(figures):
    return [1 - with_cache["per second"] / without["per second"]
            for with_cache, without in zip(figures["cache, never a hit"], figures["no cache"])]


def report_caching(figures):
    lines = [f"| {CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS} s | a second | p50 µs | p99 µs |", "|---|---|---|---|"]
    for name, rounds in figures.items():
        middle = lambda figure: statistics.median(each[figure] for each in rounds)
        lines.append(f"| {name} | {pinned.shown([each['per second'] for each in rounds], 0)} | {middle('p50 us'):.0f} | {middle('p99 us'):.0f} |")
    return "\n".join([*lines, "", f"Never a hit: {pinned.shown([100 * loss for loss in losses(figures)])} % fewer requests than without a cache."])


def missed_caching(figures):
    mean, half = pinned.interval(losses(figures))
    if mean - half > MAX_LOSS:
        yield f"a cache without hits takes {100 * mean:.1f} % of the requests"
