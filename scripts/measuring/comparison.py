"""This server beside what a user would otherwise write or pick: one workload at a time, each server on the same core."""

import array
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from . import pinned, tiny
from .server import BUILD, ROOT, Server, stores_of

HERE = pathlib.Path(__file__).resolve().parent / "peers"
ENVIRONMENTS = BUILD.parent / "peers"
PLOTS = ROOT / "docs/benchmarks"
ROUNDS = 2
SECONDS = 4
LARGE_ROUNDS = 4
CONNECTIONS = [1, 32]
START_SECONDS = 90
MIN_TINY_GAIN = 15
MIN_SHARE_LARGE = 0.97
OURS = "Modelgate"
WORKLOADS = {
    "tiny": ("64 floats in JSON, a model of 5 µs", tiny.MODEL, (1, tiny.WIDTH)),
    "image": ("a 640 × 480 JPEG to a network of ResNet-50's shape, best five classes", "resnet50.onnx", (1, 3, 224, 224)),
    "tensor": ("1 × 3 × 224 × 224 floats to SqueezeNet's", "squeezenet.onnx", (1, 3, 224, 224)),
}
# The environment of each, and how it is started there.
PEERS = {
    "Flask + Waitress, JWT": ("peers", ["python", HERE / "flask_server.py"]),
    "FastAPI, JWT": ("peers", ["python", HERE / "fastapi_server.py"]),
    "LitServe": ("peers", ["python", HERE / "litserve_server.py"]),
    "BentoML": ("peers", ["bentoml", "serve", "bentoml_server:Peer", "--host", "127.0.0.1", "--port", "{port}"]),
    "MLServer": ("mlserver", ["mlserver", "start", "{folder}"]),
}
IMAGE_SETTINGS = """[image]
input = "{input}"
width = 224
height = 224
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[classification]
output = "{output}"
[runtime]
instances = 1
"""


def measure_comparison():
    """For each workload the runtime alone and every server, and for the large network the runtime and this server in turns."""
    for name in ("peers", "mlserver"):
        install(name)
    with tempfile.TemporaryDirectory() as folder, pinned.kept_awake():
        made = pathlib.Path(folder, "made")
        made.mkdir()
        subprocess.run([ENVIRONMENTS / "peers/bin/python", HERE / "make_models.py", made], check=True)
        return {"workloads": {name: measure_workload(name, made) for name in WORKLOADS}, "large": measure_large(made)}


def install(name):
    """A virtual environment with the pinned packages, made once."""
    folder = ENVIRONMENTS / name
    wanted = (HERE / ("requirements.txt" if name == "peers" else f"requirements-{name}.txt")).read_text()
    note = folder / "installed.txt"
    if note.exists() and note.read_text() == wanted:
        return
    print(f"bench: installing what to compare with ({name}) …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "/dev/stdin"],
                   input=wanted, text=True, check=True)
    note.write_text(wanted)


def measure_workload(workload, made):
    model, shape = made / WORKLOADS[workload][1], WORKLOADS[workload][2]
    servers = {name: {**{count: [] for count in CONNECTIONS}, "MiB": []} for name in [OURS, *PEERS]}
    limits = []
    for _ in range(ROUNDS):
        limits.append(pinned.limit(model, shape, SECONDS))
        for name, results in servers.items():
            start = ours if name == OURS else peer
            with start(name, workload, model, made) as (port, pid, path, body, headers):
                for count in CONNECTIONS:
                    results[count].append(pinned.load(port, path, body, headers, connections=count, seconds=SECONDS))
                results["MiB"].append(pinned.memory_mib(pid))
            print(f"bench: {workload}, {name}: {results[CONNECTIONS[-1]][-1]['per second']:.0f} a second",
                  file=sys.stderr, flush=True)
    return {"limit": limits, "servers": servers}


def measure_large(made):
    """The large network on binary tensors: what the way over HTTP takes from the runtime's throughput."""
    model, rounds = made / "resnet50.onnx", []
    with ours(OURS, "tensor", model, made) as (port, _, path, body, headers):
        for _ in range(LARGE_ROUNDS):
            rounds.append((pinned.limit(model, (1, 3, 224, 224), SECONDS),
                           pinned.load(port, path, body, headers, connections=4, seconds=SECONDS)))
    return [served["per second"] / alone["per second"] for alone, served in rounds]


@contextlib.contextmanager
def ours(_, workload, model, made):
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder, "models")
        (models / "model/1").mkdir(parents=True)
        shutil.copy(model, models / "model/1/model.onnx")
        if workload == "image":
            names = tensor_names(made / "resnet50.onnx")
            (models / "model/model.toml").write_text(IMAGE_SETTINGS.format(input=names[0], output=names[1]))
        with Server(folder, stores_of("embedded"), models, core=pinned.SERVER_CORE) as server:
            server.set_quotas()
            token = server.credentials()["token"]
            path, (body, media) = {
                "tiny": lambda: ("/v2/models/model/infer", tiny.json_request()),
                "image": lambda: ("/api/v1/models/model/predict?top_k=5", form(made)),
                "tensor": lambda: ("/v2/models/model/infer", tiny.binary_request(
                    tensor_names(model)[0], (1, 3, 224, 224), (made / "tensor.bin").read_bytes())),
            }[workload]()
            yield server.port, server.process.pid, path, body, {**token, **media}


def tensor_names(model):
    code = "import onnx, sys; g = onnx.load(sys.argv[1]).graph; print(g.input[0].name, g.output[0].name)"
    return subprocess.run([ENVIRONMENTS / "peers/bin/python", "-c", code, model], check=True, capture_output=True,
                          text=True).stdout.split()


def form(made, name="file", media="image/jpeg", file="photograph.jpg"):
    """A form with one file."""
    head = (f'--bench\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
            f"Content-Type: {media}\r\n\r\n").encode()
    return head + (made / file).read_bytes() + b"\r\n--bench--\r\n", {"Content-Type": "multipart/form-data; boundary=bench"}


@contextlib.contextmanager
def peer(name, workload, model, made):
    environment, command = PEERS[name]
    secret = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        if name == "MLServer":
            mlserver_settings(pathlib.Path(folder), port)
        program = ENVIRONMENTS / environment / "bin" / command[0]
        rest = [str(part).format(port=port, folder=folder) for part in command[1:]]
        variables = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": folder, "PEER_WORKLOAD": workload,
                     "PEER_MODEL": str(model), "PEER_PORT": str(port), "PEER_SECRET": secret, "PYTHONPATH": str(HERE),
                     "PYTHONDONTWRITEBYTECODE": "1", "BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}
        with open(pathlib.Path(folder, "log"), "w+") as log:
            process = subprocess.Popen([*pinned.on_core(pinned.SERVER_CORE), program, *rest], env=variables, cwd=HERE,
                                       stdout=log, stderr=log, start_new_session=True)
            try:
                path, body, headers = request_of(name, workload, made, secret)
                wait_until_it_answers(process, port, path, body, headers, log)
                yield port, process.pid, path, body, headers
            finally:
                stop(process)


def mlserver_settings(folder, port):
    (folder / "settings.json").write_text(json.dumps({
        "host": "127.0.0.1", "http_port": port, "grpc_port": 0, "metrics_port": 0, "parallel_workers": 0, "debug": False,
        "metrics_endpoint": None, "logging_settings": None}))
    (folder / "model-settings.json").write_text(json.dumps({"name": "peer", "implementation": "mlserver_runtime.Peer"}))


def request_of(name, workload, made, secret):
    """Path, body and headers, in the way that is natural for each."""
    headers = {"Authorization": "Bearer " + signed_token(secret)} if "JWT" in name else {}
    if name == "MLServer":
        data, datatype, shape = {
            "tiny": lambda: (tiny.FLOATS, "FP32", [1, tiny.WIDTH]),
            "image": lambda: ([base64.b64encode((made / "photograph.jpg").read_bytes()).decode()], "BYTES", [1]),
            "tensor": lambda: (floats(made), "FP32", [1, 3, 224, 224]),
        }[workload]()
        tensor = {"name": "x", "shape": shape, "datatype": datatype, "data": data}
        return "/v2/models/peer/infer", json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}
    if workload == "tiny":
        body, media = json.dumps({"x": tiny.FLOATS}).encode(), {"Content-Type": "application/json"}
    elif workload == "image":
        body, media = form(made)
    elif name == "LitServe":
        content = base64.b64encode((made / "tensor.bin").read_bytes()).decode()
        body, media = json.dumps({"x": content}).encode(), {"Content-Type": "application/json"}
    elif name == "BentoML":
        body, media = form(made, media="application/octet-stream", file="tensor.bin")
    else:
        body, media = (made / "tensor.bin").read_bytes(), {"Content-Type": "application/octet-stream"}
    return "/predict", body, {**headers, **media}


def floats(made):
    return array.array("f", (made / "tensor.bin").read_bytes()).tolist()


def signed_token(secret):
    encode = lambda content: base64.urlsafe_b64encode(content).rstrip(b"=")
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": "bench", "exp": int(time.time()) + 3600}]
    signed = b".".join(encode(json.dumps(part).encode()) for part in parts)
    return (signed + b"." + encode(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()


def wait_until_it_answers(process, port, path, body, headers, log):
    deadline, last = time.monotonic() + START_SECONDS, None
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", path, body, headers)
            last = connection.getresponse()
            if last.status == 200 and last.read():
                return
        time.sleep(0.1)
    log.seek(0)
    raise SystemExit(f"bench: no answer ({last and last.status}): {log.read()[-2000:]}")


def stop(process):
    """The whole family: some of them start others."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    process.wait()


def middle(rounds, figure):
    return statistics.median(each[figure] for each in rounds)


def report_comparison(results):
    plot(results["workloads"])
    tables = [report_workload(name, result) for name, result in results["workloads"].items()]
    share = f"The large network on binary tensors, {LARGE_ROUNDS} rounds in turns with the runtime in process: "
    return "\n\n".join([*tables, share + f"{pinned.shown(results['large'], 3)} of its throughput (wanted: ≥ {MIN_SHARE_LARGE})."])


def report_workload(workload, result):
    limit = middle(result["limit"], "per second")
    lines = [f"![{workload}](benchmarks/peers-{workload}.svg)", "",
             f"| {WORKLOADS[workload][0]} | one caller: a second | p50 ms | p99 ms | {CONNECTIONS[-1]} connections: a second | p50 ms | p99 ms | of the limit | memory MiB |",
             "|---|---|---|---|---|---|---|---|---|",
             f"| *the runtime in process (the limit)* | {limit:.1f} | {middle(result['limit'], 'p50 us') / 1000:.3f} | "
             f"{middle(result['limit'], 'p99 us') / 1000:.3f} | | | | 1.00 | |"]
    for name, figures in result["servers"].items():
        cells = [cell for count in CONNECTIONS for cell in (
            f"{middle(figures[count], 'per second'):.1f}", f"{middle(figures[count], 'p50 us') / 1000:.2f}",
            f"{middle(figures[count], 'p99 us') / 1000:.2f}")]
        share = throughput(figures) / limit
        lines.append(f"| {name} | {' | '.join(cells)} | {share:.3f} | {statistics.median(figures['MiB']):.0f} |")
    return "\n".join(lines)


def throughput(figures):
    return middle(figures[CONNECTIONS[-1]], "per second")


def plot(results):
    PLOTS.mkdir(exist_ok=True)
    bars = {workload: {"title": WORKLOADS[workload][0], "servers": {
        name: {"per second": throughput(figures), "p99 ms": middle(figures[CONNECTIONS[-1]], "p99 us") / 1000,
               "MiB": statistics.median(figures["MiB"])} for name, figures in result["servers"].items()}}
            for workload, result in results.items()}
    subprocess.run([ENVIRONMENTS / "peers/bin/python", HERE / "plot.py", PLOTS], input=json.dumps(bars), text=True, check=True)


def missed_comparison(results):
    share, half = pinned.interval(results["large"])
    if share + half < MIN_SHARE_LARGE:
        yield f"the large network reaches {share:.3f} of the runtime (target: {MIN_SHARE_LARGE})"
    for workload, result in results["workloads"].items():
        servers = dict(result["servers"])
        mine = servers.pop(OURS)
        best = max(throughput(figures) for figures in servers.values())
        if workload == "tiny" and throughput(mine) < MIN_TINY_GAIN * best:
            yield f"{workload}: {throughput(mine) / best:.1f} times the best peer (target: {MIN_TINY_GAIN})"
        if throughput(mine) < best:
            yield f"{workload}: {throughput(mine):.1f} a second, the best peer {best:.1f}"
        if min(statistics.median(figures["MiB"]) for figures in servers.values()) < statistics.median(mine["MiB"]):
            yield f"{workload}: a peer takes less memory"
        tails = [middle(figures[CONNECTIONS[-1]], "p99 us") for figures in servers.values()]
        if min(tails) < middle(mine[CONNECTIONS[-1]], "p99 us"):
            yield f"{workload}: a peer has the shorter p99"
