"""What one caller's flood does to another caller of the same model."""

import json
import pathlib
import statistics
import tempfile

from . import onnx_file
from .inference import infer_request
from .server import Server, stores_of
from .storm import figures as wait_for
from .storm import load

# Some ten milliseconds a run: the generator's own time does not count.
WIDTH, LAYERS, ROWS = 512, 8, 128
ROUNDS = 3
SECONDS = 6
CONNECTIONS = 32
MAX_RATIO = 1.5
FLOODER = {"email": "flood@example.com", "password": "Correct-horse-9"}
MODELS = {"two instances, one a caller": "[runtime]\ninstances = 2\ninstances_per_caller = 1\n",
          "two instances, as they are by default": "[runtime]\ninstances = 2\n"}


def measure_fairness():
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder) / "models"
        for number, settings in enumerate(MODELS.values()):
            (models / f"model-{number}/1").mkdir(parents=True)
            (models / f"model-{number}/model.toml").write_text(settings)
            (models / f"model-{number}/1/model.onnx").write_bytes(onnx_file.layers(WIDTH, LAYERS, ROWS))
        with Server(folder, stores_of("embedded"), models) as server:
            callers = [server.credentials()["token"], flooder(server)]
            return {name: interleave(server, folder, f"model-{number}", callers) for number, name in enumerate(MODELS)}


def flooder(server):
    server.post_json("/api/v1/auth/register", {**FLOODER, "name": "Flood"})
    return {"Authorization": "Bearer " + server.post_json("/api/v1/auth/login", FLOODER)["access_token"]}


def interleave(server, folder, model, callers):
    path, body = f"/v2/models/{model}/infer", json.dumps(infer_request([1, WIDTH], [0.5] * WIDTH)).encode()
    caller, flood = ({**headers, "Content-Type": "application/json"} for headers in callers)
    quiet, flooded, floods = [], [], []
    for _ in range(ROUNDS):
        quiet.append(wait_for(load(server, path, body, caller, folder, seconds=SECONDS)))
        storm = load(server, path, body, flood, folder, connections=CONNECTIONS, seconds=SECONDS + 1)
        flooded.append(wait_for(load(server, path, body, caller, folder, seconds=SECONDS)))
        floods.append(wait_for(storm))
    return {"quiet": quiet, "flooded": flooded, "flood": floods}


def middle(rounds, figure):
    return statistics.median(each[figure] for each in rounds)


def report_fairness(results):
    lines = [f"| µs, medians of {ROUNDS} rounds | alone p50 | alone p99 | beside a flood p50 | beside a flood p99 | p99 ratio | the flood, a second |",
             "|---|---|---|---|---|---|---|"]
    for name, row in results.items():
        cells = [middle(row[side], figure) for side in ("quiet", "flooded") for figure in ("p50 us", "p99 us")]
        lines.append(f"| {name} | {' | '.join(f'{cell:.0f}' for cell in cells)} | {ratio(row):.2f} | {middle(row['flood'], 'per second'):.0f} |")
    return "\n".join(lines)


def ratio(row):
    return middle(row["flooded"], "p99 us") / middle(row["quiet"], "p99 us")


def missed_fairness(results):
    best = min(ratio(row) for row in results.values())
    if best > MAX_RATIO:
        yield f"a flood makes another's p99 {best:.2f} times as long"
