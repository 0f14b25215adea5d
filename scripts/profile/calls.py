#!/usr/bin/env python3
"""Calls a program as its users do, so that its compiler learns which paths are taken often.

    calls.py embedded|shared

The program is an instrumented one, below CARGO_TARGET_DIR; it writes what it counted to LLVM_PROFILE_FILE when it stops. What
is not called here is compiled to be small instead of quick.
"""

import array
import gzip
import http.client
import io
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import zlib

import numpy
import tritonclient.grpc as triton
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from measuring import limit, onnx_file, pinned, tiny  # noqa: E402
from measuring.server import PERSON, ROOT, Server, stores_of  # noqa: E402

SECONDS = 2
ROUNDS = 200
PICTURES = 60
GRPC_CALLS = 3000
LOGINS = 5
WIDE = 16384
JSON = {"Content-Type": "application/json"}
PICTURE_SETTINGS = '[image]\ninput = "x"\nwidth = 224\nheight = 224\n[classification]\noutput = "y"\n'
ROW_SETTINGS = """[table]
input = "x"
[[table.columns]]
name = "age"
max = 130
[[table.columns]]
name = "income"
default = 1000
[[table.columns]]
name = "member"
type = "boolean"
[[table.columns]]
name = "class"
type = "category"
values = ["a", "b"]
[regression]
output = "y"
"""


def make_models(folder):
    """The demo model and others, for pictures, rows, tensors of any shape and calls that run together."""
    nodes = [onnx_file.node("GlobalAveragePool", ["x"], ["mean"]), onnx_file.node("Flatten", ["mean"], ["y"])]
    infos = [onnx_file.value_info("x", ["batch", 3, 224, 224])], [onnx_file.value_info("y", ["batch", 3])]
    anything = [onnx_file.value_info(name, ["batch", "width"]) for name in "xy"]
    models = {
        "pictures": (PICTURE_SETTINGS, onnx_file.model(nodes, [], *infos)),
        "rows": (ROW_SETTINGS, onnx_file.layers(4, 2)),
        "tensors": ("", onnx_file.model([onnx_file.node("Identity", ["x"], ["y"])], [], anything[:1], anything[1:])),
        "batched": ("[batching]\nmax_rows = 32\n", onnx_file.layers(64, 8)),
    }
    for name, (settings, content) in models.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "model.toml").write_text(settings)
        (folder / name / "1/model.onnx").write_bytes(content)
    shutil.copytree(ROOT / "models/digits", folder / "digits")


def many_at_once(server, credentials):
    """What most requests are: a tensor, in either encoding, with either credential, from one caller and from many."""
    path = "/v2/models/digits/infer"
    for body, media in [tiny.binary_request(), tiny.json_request()]:
        for headers in credentials.values():
            for connections in [1, 32]:
                pinned.load(server.port, path, body, {**headers, **media}, connections=connections, seconds=SECONDS)
    body, media = tiny.binary_request()
    pinned.load(server.port, "/v2/models/batched/infer", body, {**credentials["token"], **media}, connections=32, seconds=SECONDS)
    sample = (ROOT / "models/digits/samples/3-1.png").read_bytes()
    pinned.load(server.port, "/api/v1/models/digits/predict", sample, {**credentials["token"], "Content-Type": "image/png"},
                connections=8, seconds=SECONDS)


def rows_and_tensors(server, token):
    rows = [{"age": age, "income": 1000.5, "member": True, "class": "b"} for age in range(20)]
    pinned.load(server.port, "/api/v1/models/rows/predict", json.dumps({"rows": rows}).encode(), {**token, **JSON},
                connections=8, seconds=SECONDS)
    path, numbers = "/v2/models/tensors/infer", [random.Random(1).uniform(-9, 9) for _ in range(WIDE)]
    body, media = tiny.binary_request("x", (1, WIDE), array.array("f", numbers).tobytes())
    pinned.load(server.port, path, body, {**token, **media}, connections=8, seconds=SECONDS)
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, WIDE], "datatype": "FP32", "data": numbers}]}).encode()
    pinned.load(server.port, path, body, {**token, **JSON}, connections=2, seconds=SECONDS)
    for coding, packed in [("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))]:
        for answered in ["gzip", "deflate", "zstd"]:
            headers = {**token, **JSON, "Content-Encoding": coding, "Accept-Encoding": answered}
            expect(200, server, "POST", path, body=packed, headers=headers, times=20)


def pictures(server, token):
    generator = numpy.random.default_rng(1)
    smooth = Image.fromarray(generator.integers(0, 256, (12, 16, 3), numpy.uint8)).resize((640, 480), Image.BICUBIC)
    kinds = [("JPEG", "RGB", {"quality": 85}), ("JPEG", "RGB", {"progressive": True}), ("JPEG", "L", {}), ("PNG", "RGB", {}),
             ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "L", {}), ("WEBP", "RGB", {}), ("WEBP", "RGB", {"lossless": True}),
             ("GIF", "P", {}), ("BMP", "RGB", {})]
    for kind, mode, options in kinds:
        file = io.BytesIO()
        smooth.convert(mode).save(file, kind, **options)
        headers = {**token, "Content-Type": f"image/{kind.lower()}"}
        expect(200, server, "POST", "/api/v1/models/pictures/predict", body=file.getvalue(), headers=headers, times=PICTURES)


def around_it(server, token):
    """What is asked beside inferences, and what is refused."""
    read = ["/v2", "/v2/models/digits", "/v2/models/digits/ready", "/v2/models/digits/stats", "/api/v1/models", "/api/v1/me",
            "/api/v1/api-keys", "/api/v1/me/usage"]
    for path in read:
        expect(200, server, "GET", path, headers=token, times=ROUNDS)
    expect(200, server, "GET", "/health/ready", times=ROUNDS)
    expect(401, server, "GET", "/v2/models/digits", times=ROUNDS)
    expect(403, server, "GET", "/api/v1/admin/users", headers=token, times=ROUNDS)
    expect(404, server, "GET", "/v2/models/nothing", headers=token, times=ROUNDS)
    expect(400, server, "POST", "/v2/models/digits/infer", body=b"{}", headers={**token, **JSON}, times=ROUNDS)
    expect(200, server, "POST", "/api/v1/auth/login", body=json.dumps(PERSON).encode(), headers=JSON, times=LOGINS)
    for _ in range(ROUNDS):
        server.counters()


def expect(status, server, method, path, body=None, headers=None, times=1):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(times):
        got, answer = server.call(method, path, body, headers, connection)
        assert got == status, (method, path, got, answer[:300])
    connection.close()


def over_grpc(port, token):
    headers = {"authorization": token["Authorization"]}
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for name, width in [("digits", tiny.WIDTH), ("tensors", WIDE)]:
            given = triton.InferInput("x", [1, width], "FP32")
            given.set_data_from_numpy(numpy.zeros((1, width), numpy.float32))
            for _ in range(GRPC_CALLS):
                client.infer(name, [given], headers=headers)
        for _ in range(ROUNDS):
            client.get_model_metadata("digits", headers=headers)
            client.is_server_live()


def bare_front(pair):
    """The program that the server is measured against is laid out by the same profile (docs/decisions/0038)."""
    with limit.front(pair) as (port, _):
        for path in ["/hello", "/models/digits", *(["/script"] if pair == "shared" else [])]:
            for connections in [1, 32]:
                pinned.load(port, path, tiny.RAW, connections=connections, seconds=SECONDS)


def main():
    pair, counted = sys.argv[1], os.environ["LLVM_PROFILE_FILE"]
    port = str(limit.free_port())
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder, "models")
        make_models(models)
        settings = {**stores_of(pair), "GRPC_PORT": port, "LLVM_PROFILE_FILE": counted}
        with Server(folder, settings, models) as server:
            server.set_quotas()
            credentials = server.credentials()
            many_at_once(server, credentials)
            rows_and_tensors(server, credentials["token"])
            pictures(server, credentials["token"])
            around_it(server, credentials["token"])
            over_grpc(port, credentials["token"])
    bare_front(pair)


if __name__ == "__main__":
    main()
