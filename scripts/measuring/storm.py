"""What a storm of logins, which keeps the password hashing saturated, does to those who infer meanwhile."""

import json
import pathlib
import subprocess
import tempfile

from . import onnx_file
from .inference import infer_request
from .server import BUILD, ROOT, Server, stores_of

ROUNDS = 4
SECONDS = {"tiny": 4, "large": 10}
LOGIN_CONNECTIONS = 32
# Another account than the caller's: one more session than an account may have ends its oldest.
STORMY = {"email": "storm@example.com", "password": "Correct-horse-9"}
# Those turned away come back after this long, or the storm would be one of refusals.
LOGIN_PAUSE_US = 100_000
# 384 rows through 24 layers of 512: some 2.4 billion multiplications.
WIDTH, LAYERS, ROWS = 512, 24, 384
MAX_RATIO_LARGE = 1.2
MAX_ADDED_TINY_US = 1000


def load(server, path, body, headers, folder, **options):
    """A generator at work; `figures` waits for it."""
    # Two generators on the same path do not share their files.
    own = pathlib.Path(tempfile.mkdtemp(dir=folder))
    (own / "headers").write_text("".join(f"{name}: {value}\n" for name, value in headers.items()))
    (own / "body").write_bytes(body)
    command = [BUILD / "bench", "load", "--address", f"127.0.0.1:{server.port}", "--path", path, "--body", own / "body",
               "--header-file", own / "headers"]
    command += [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def figures(process):
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    return json.loads(output)


def measure_storm(pair):
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder) / "models"
        (models / "large/1").mkdir(parents=True)
        (models / "large/1/model.onnx").write_bytes(onnx_file.layers(WIDTH, LAYERS, ROWS))
        subprocess.run(["cp", "-rL", ROOT / "models/digits", models / "tiny"], check=True)
        with Server(folder, stores_of(pair), models) as server:
            token = server.credentials()["token"]
            server.post_json("/api/v1/auth/register", {**STORMY, "name": "Storm"})
            calls = {"tiny": ("tiny", infer_request([1, 64], [8.0] * 64)),
                     "large": ("large", infer_request([1, WIDTH], [0.5] * WIDTH))}
            return {name: interleave(server, folder, token, model, json.dumps(request).encode(), SECONDS[name])
                    for name, (model, request) in calls.items()}


def interleave(server, folder, token, model, request, seconds):
    headers = {**token, "Content-Type": "application/json"}
    quiet, stormy, logins = [], [], []
    for _ in range(ROUNDS):
        for rounds, storm in [(quiet, False), (stormy, True)]:
            if storm:
                body = json.dumps(STORMY).encode()
                storm = load(server, "/api/v1/auth/login", body, {"Content-Type": "application/json"}, folder,
                             connections=LOGIN_CONNECTIONS, seconds=seconds + 1, warm_up=0, pause_us=LOGIN_PAUSE_US)
            caller = load(server, f"/v2/models/{model}/infer", request, headers, folder, seconds=seconds)
            rounds.append(figures(caller))
            assert rounds[-1]["other"] == 0, rounds[-1]
            if storm:
                logins.append(figures(storm))
    middle = lambda rounds, name: sorted(each[name] for each in rounds)[len(rounds) // 2]
    return {"quiet p50": middle(quiet, "p50 us"), "quiet p99": middle(quiet, "p99 us"),
            "storm p50": middle(stormy, "p50 us"), "storm p99": middle(stormy, "p99 us"),
            "logins a second": middle(logins, "per second"),
            "turned away a second": middle(logins, "other") / (seconds + 1)}


def report_storm(pair, results):
    lines = [f"| {pair}, µs, medians of {ROUNDS} rounds | quiet p50 | quiet p99 | storm p50 | storm p99 | p99 storm − quiet | p99 storm ÷ quiet | logins/s | turned away/s |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, row in results.items():
        added, ratio = row["storm p99"] - row["quiet p99"], row["storm p99"] / row["quiet p99"]
        lines.append(f"| {name} model | {row['quiet p50']:.0f} | {row['quiet p99']:.0f} | {row['storm p50']:.0f} | {row['storm p99']:.0f} | "
                     f"{added:.0f} | {ratio:.2f} | {row['logins a second']:.0f} | {row['turned away a second']:.0f} |")
    return "\n".join(lines)


def missed_storm(results):
    tiny, large = results["tiny"], results["large"]
    if tiny["storm p99"] - tiny["quiet p99"] > MAX_ADDED_TINY_US:
        yield f"a login storm adds {tiny['storm p99'] - tiny['quiet p99']:.0f} µs to the tiny model's p99 (target: {MAX_ADDED_TINY_US})"
    if large["storm p99"] / large["quiet p99"] > MAX_RATIO_LARGE:
        yield f"a login storm makes the large model's p99 {large['storm p99'] / large['quiet p99']:.2f} times as long (target: {MAX_RATIO_LARGE})"
