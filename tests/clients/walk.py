"""Walks every call of the protocol's clients with a bearer token and with an API key.

    walk.py URL TOKEN KEY [PAGE]

Prints one line for each call, and writes the same table to PAGE. The clients are `tritonclient.http`, its asynchronous
twin and `kserve`'s REST client. A call that is not walked, and one that does not do what is said here, fails the run.
"""

import asyncio
import inspect
import json
import sys
import urllib.request
from importlib.metadata import version

import httpx
import ml_dtypes
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.errors import UnsupportedProtocol
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from tritonclient.utils import InferenceServerException

URL, TOKEN, KEY = sys.argv[1:4]
HOST = URL.removeprefix("http://")
CREDENTIALS = {"bearer token": {"Authorization": f"Bearer {TOKEN}"}, "API key": {"X-API-Key": KEY}}
NOT_OFFERED = "refused with 404: not offered"
results: dict[tuple[str, str], dict[str, str]] = {}


def note(client, call, credential, outcome):
    results.setdefault((client, call), {})[credential] = outcome
    print(f"{client:22} {call:44} {credential:13} {outcome}", flush=True)


async def settle(value):
    return await value if inspect.isawaitable(value) else value


class Walk:
    """One client with one credential. `at` makes a call and what is done with its answer one step."""

    def __init__(self, name, client, credential):
        self.name, self.client, self.credential = name, client, credential
        self.headers = CREDENTIALS[credential]
        self.walked = set()

    async def at(self, label, method, *arguments, check=lambda answer: True, refused=None, **options):
        self.walked.add(method)
        outcome = "ok"
        try:
            answer = await settle(getattr(self.client, method)(*arguments, headers=dict(self.headers), **options))
            if refused:
                outcome = f"WRONG: not refused with {refused}"
            elif not check(answer):
                outcome = f"WRONG: {answer}"
        except InferenceServerException as error:
            if refused and error.status() == refused:
                outcome = NOT_OFFERED if label == method else f"refused with {refused}, as it should be"
            else:
                outcome = f"FAILED: {error}"
        except Exception as error:  # what a client cannot read may end in anything
            outcome = f"FAILED: {type(error).__name__}: {error}"
        note(self.name, label, self.credential, outcome)


def triton_input(kit, name, array, datatype, binary=True):
    tensor = kit.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def alike(given, array):
    """The same type, shape and elements; clients give texts as bytes or as strings."""
    if given is None or given.dtype != array.dtype or given.shape != array.shape:
        return False
    text = lambda item: item.encode() if isinstance(item, str) else item
    return [text(item) for item in given.flatten().tolist()] == array.flatten().tolist()


def same(array):
    return lambda result: alike(result.as_numpy("y"), array)


NUMBERS = np.array([[0.5, -2.0], [3.0, 1e-3]], np.float32)
PICTURE = np.zeros((2, 64), np.float32)
ARRAYS = {
    "fp32": ("FP32", NUMBERS),
    "fp16": ("FP16", NUMBERS.astype(np.float16)),
    "bf16": ("BF16", NUMBERS.astype(ml_dtypes.bfloat16)),
    "int64": ("INT64", np.array([[1, -(2**62)]], np.int64)),
    "bool": ("BOOL", np.array([[True, False]])),
    "text": ("BYTES", np.array([["ä".encode(), b""]], np.object_)),
}


async def walk_triton(walk, kit, offered):
    """`kit` is the module with the client's own inputs and outputs."""
    at = walk.at
    await at("is_server_live", "is_server_live", check=bool)
    await at("is_server_ready", "is_server_ready", check=bool)
    await at("is_model_ready", "is_model_ready", "digits", check=bool)
    await at("is_model_ready, of a version", "is_model_ready", "digits", "1", check=bool)
    await at("is_model_ready, of no model", "is_model_ready", "none", check=lambda ready: not ready)
    await at("get_server_metadata", "get_server_metadata", check=lambda it: "binary_tensor_data" in it["extensions"])
    await at("get_model_metadata", "get_model_metadata", "digits", check=lambda it: it["inputs"][0]["shape"] == [-1, 64])
    await at("get_model_metadata, of no model", "get_model_metadata", "none", refused="404")
    await at("get_model_config", "get_model_config", "digits", check=lambda it: it["input"][0]["data_type"] == "TYPE_FP32")
    await at("get_model_config, of a version", "get_model_config", "digits", "1", check=lambda it: it["name"] == "digits")
    await at("get_model_repository_index", "get_model_repository_index",
             check=lambda it: {"digits", "bf16"} <= {line["name"] for line in it})
    managed = {} if "model_repository" in offered else {"refused": "404"}
    await at("unload_model", "unload_model", "fp32", **managed)
    await at("load_model", "load_model", "fp32", **managed)
    if managed == {}:
        await at("load_model, with a configuration", "load_model", "fp32", config="{}", refused="400")
        await at("unload_model, of no model", "unload_model", "none", refused="404")
        await at("is_model_ready, after a load", "is_model_ready", "fp32", check=bool)

    for model, (datatype, array) in ARRAYS.items():
        given = triton_input(kit, "x", array, datatype)
        await at(f"infer, {datatype}, binary", "infer", model, [given], check=same(array))
        if datatype not in ("FP16", "BF16"):
            given = triton_input(kit, "x", array, datatype, binary=False)
            wanted = [kit.InferRequestedOutput("y", binary_data=False)]
            await at(f"infer, {datatype}, JSON", "infer", model, [given], outputs=wanted, check=same(array))
        else:
            wanted = [kit.InferRequestedOutput("y", binary_data=False)]
            await at(f"infer, {datatype}, as JSON", "infer", model, [given], outputs=wanted, refused="400")
    empty = np.zeros((0, 64), np.float32)
    digits = lambda array, binary=True: [triton_input(kit, "x", array, "FP32", binary)]
    await at("infer, no rows", "infer", "digits", digits(empty), check=lambda it: it.as_numpy("label").shape == (0,))
    large = np.zeros((500, 64), np.float32)
    for packed in ("gzip", "deflate"):
        for binary in (True, False):
            await at(f"infer, {packed} both ways, {'binary' if binary else 'JSON'}", "infer", "digits", digits(large, binary),
                     outputs=[kit.InferRequestedOutput("probabilities", binary_data=binary)],
                     request_compression_algorithm=packed, response_compression_algorithm=packed,
                     check=lambda it: it.as_numpy("probabilities").shape == (500, 10))
    for binary in (True, False):
        wanted = [kit.InferRequestedOutput("probabilities", binary_data=binary, class_count=3), kit.InferRequestedOutput("label")]
        await at(f"infer, classification, {'binary' if binary else 'JSON'}", "infer", "digits", digits(PICTURE), outputs=wanted,
                 check=lambda it: it.as_numpy("probabilities").shape == (2, 3) and it.as_numpy("label").shape == (2,))
    await at("infer, id, priority, timeout, parameters", "infer", "digits", digits(PICTURE), model_version="1", request_id="a-7",
             priority=1, timeout=20_000_000, parameters={"mine": "yes"},
             check=lambda it: it.get_response()["id"] == "a-7" and it.get_response()["model_version"] == "1")
    await at("infer, too late", "infer", "digits", digits(PICTURE), timeout=1, refused="504")
    await at("infer, a sequence", "infer", "digits", digits(PICTURE), sequence_id=1, sequence_start=True, refused="400")
    if "async_infer" in dir(walk.client):
        asked = walk.client.async_infer("digits", digits(PICTURE), headers=dict(walk.headers))
        walk.walked.add("async_infer")
        fine = asked.get_result().as_numpy("label").shape == (2,)
        note(walk.name, "async_infer", walk.credential, "ok" if fine else "WRONG")

    given = digits(PICTURE)
    body, length = walk.client.generate_request_body(given)
    request = urllib.request.Request(f"{URL}/v2/models/digits/infer", body, dict(walk.headers))
    request.add_header("Inference-Header-Content-Length", str(length))
    with urllib.request.urlopen(request) as answer:
        length = int(answer.headers["Inference-Header-Content-Length"])
        result = walk.client.parse_response_body(answer.read(), header_length=length)
    walk.walked |= {"generate_request_body", "parse_response_body"}
    fine = result.as_numpy("label").shape == (2,)
    note(walk.name, "generate_request_body, parse_response_body", walk.credential, "ok" if fine else "WRONG")

    done = lambda it: it["model_stats"][0]["inference_count"] > 0
    await at("get_inference_statistics", "get_inference_statistics", check=lambda it: len(it["model_stats"]) >= 7)
    await at("get_inference_statistics, of a model", "get_inference_statistics", "digits", check=done)
    await at("get_inference_statistics, of a version", "get_inference_statistics", "digits", "1", check=done)

    await at("get_trace_settings", "get_trace_settings", refused="404")
    await at("update_trace_settings", "update_trace_settings", settings={"trace_rate": "1"}, refused="404")
    await at("get_log_settings", "get_log_settings", refused="404")
    await at("update_log_settings", "update_log_settings", {"log_info": True}, refused="404")
    await at("get_system_shared_memory_status", "get_system_shared_memory_status", refused="404")
    await at("register_system_shared_memory", "register_system_shared_memory", "a", "/a", 8, refused="404")
    await at("unregister_system_shared_memory", "unregister_system_shared_memory", refused="404")
    await at("get_cuda_shared_memory_status", "get_cuda_shared_memory_status", refused="404")
    await at("register_cuda_shared_memory", "register_cuda_shared_memory", "a", b"a", 0, 8, refused="404")
    await at("unregister_cuda_shared_memory", "unregister_cuda_shared_memory", refused="404")

    class Credential(triton.InferenceServerClientPlugin if hasattr(triton, "InferenceServerClientPlugin") else object):
        def __call__(self, request):
            request.headers.update(walk.headers)

    walk.client.register_plugin(Credential())
    fine = walk.client.plugin() is not None and bool((await settle(walk.client.get_server_metadata()))["name"])
    walk.client.unregister_plugin()
    walk.walked |= {"register_plugin", "plugin", "unregister_plugin"}
    note(walk.name, "register_plugin, plugin, unregister_plugin", walk.credential, "ok" if fine else "WRONG")
    await settle(walk.client.close())
    walk.walked.add("close")
    for name, _ in inspect.getmembers(type(walk.client), inspect.isroutine):
        if not name.startswith("_") and name not in walk.walked:
            note(walk.name, name, walk.credential, "FAILED: not walked")


async def walk_kserve(credential):
    name, headers = "kserve", CREDENTIALS[credential]

    class Auth(httpx.Auth):
        def auth_flow(self, request):
            request.headers.update(headers)
            yield request

    async def at(label, awaitable, check=lambda answer: True, raises=None):
        try:
            answer = await awaitable
            outcome = f"WRONG: not refused with {raises}" if raises else "ok" if check(answer) else f"WRONG: {answer}"
        except Exception as error:
            told = isinstance(error, raises[0]) and raises[1] in str(error) if raises else False
            outcome = f"refused, as it should be: {raises[1] or 'the client itself'}" if told else f"FAILED: {error}"
        note(name, label, credential, outcome)

    def request(model, array, datatype, binary_in, binary_out, output="y"):
        tensor = InferInput("x", list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary_in)
        wanted = [RequestedOutput(output, parameters={"binary_data": binary_out})]
        return InferRequest(model, [tensor], request_id="a-7", request_outputs=wanted)

    client = InferenceRESTClient(RESTConfig(protocol="v2", auth=Auth()))
    await at("is_server_live", client.is_server_live(URL), bool)
    await at("is_server_ready", client.is_server_ready(URL), bool)
    await at("is_model_ready", client.is_model_ready(URL, "digits"), bool)
    await at("is_model_ready, of no model", client.is_model_ready(URL, "none"), lambda ready: not ready)
    for model, (datatype, array) in ARRAYS.items():
        if datatype == "BF16":
            continue  # this client does not know the type
        for binary in (True, False):
            if datatype == "FP16" and not binary:
                continue  # this client refuses it, as the server would
            check = lambda it, array=array: alike(it.get_output_by_name("y").as_numpy(), array) and it.id == "a-7"
            await at(f"infer, {datatype}, {'binary' if binary else 'JSON'}",
                     client.infer(URL, request(model, array, datatype, binary, binary), model_name=model), check)
    plain = {"inputs": [{"name": "x", "shape": [2, 64], "datatype": "FP32", "data": PICTURE.tolist()}]}
    await at("infer, a plain dictionary", client.infer(URL, plain, model_name="digits"),
             lambda it: it.model_name == "digits" and it.get_output_by_name("label").shape == [2])
    wanted = request("digits", PICTURE, "FP32", True, True, "probabilities")
    await at("infer, mixed with other headers", client.infer(URL, wanted, model_name="digits", headers={"X-Request-Id": "seven"}),
             lambda it: it.get_output_by_name("probabilities").as_numpy().shape == (2, 10))
    wrong = {"inputs": []}
    await at("infer, an incomplete call", client.infer(URL, wrong, model_name="digits"),
             raises=(httpx.HTTPStatusError, "\"x\" is missing"))
    await at("infer, of no model", client.infer(URL, plain, model_name="none"), raises=(httpx.HTTPStatusError, "no model"))
    await at("explain", client.explain(URL, "digits", {}), raises=(UnsupportedProtocol, ""))
    await client.close()
    note(name, "close", credential, "ok")
    nobody = InferenceRESTClient(RESTConfig(protocol="v2"))
    await at("infer, without a credential", nobody.infer(URL, plain, model_name="digits"),
             raises=(httpx.HTTPStatusError, "required"))
    await nobody.close()


async def main():
    request = urllib.request.Request(f"{URL}/v2", headers=CREDENTIALS["bearer token"])
    with urllib.request.urlopen(request) as answer:
        offered = json.load(answer)["extensions"]
    for credential in CREDENTIALS:
        await walk_triton(Walk("tritonclient.http", triton.InferenceServerClient(HOST), credential), triton, offered)
        await walk_triton(Walk("tritonclient.http.aio", triton_aio.InferenceServerClient(HOST), credential), triton_aio, offered)
        await walk_kserve(credential)
    bad = [key for key, columns in results.items()
           if len(columns) != 2 or any(outcome.startswith(("WRONG", "FAILED")) for outcome in columns.values())]
    total = sum(len(columns) for columns in results.values())
    print(f"{total} calls, {len(bad)} of them not as they should be: {bad}")
    if len(sys.argv) > 4:
        with open(sys.argv[4], "w", encoding="utf-8") as page:
            page.write(table(total))
    return bool(bad)


def table(total):
    lines = [
        "# Compatibility with Triton's and KServe's clients", "",
        "Made by `scripts/prove clients`: every public call of these clients, with a bearer token and with an API key, against a",
        f"server with the demo model and an identity for each type ({total} calls). tritonclient {version('tritonclient')},",
        f"kserve {version('kserve')}, onnx {version('onnx')}, numpy {version('numpy')}.", "",
        "| client | call | bearer token | API key |", "|---|---|---|---|",
    ]
    for (client, call), columns in results.items():
        cells = " | ".join(columns.get(credential, "") for credential in CREDENTIALS)
        lines.append(f"| `{client}` | {call} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
