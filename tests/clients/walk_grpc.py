"""Walks every call of the protocol's gRPC clients with a bearer token and with an API key.

    walk_grpc.py ADDRESS TOKEN KEY [PAGE]

Prints one line for each call, and writes the same table to PAGE. The clients are `tritonclient.grpc` and its asynchronous
twin. A public call that is not walked, and one that does not do what is said here, fails the run.
"""

import asyncio
import inspect
import queue
import sys
from importlib.metadata import version

import ml_dtypes
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

ADDRESS, TOKEN, KEY = sys.argv[1:4]
CREDENTIALS = {"bearer token": {"authorization": f"Bearer {TOKEN}"}, "API key": {"x-api-key": KEY}}
# Not offered, on purpose: docs/API.md.
REFUSED = {
    "update_trace_settings": (), "get_trace_settings": (), "update_log_settings": ({},), "get_log_settings": (),
    "get_system_shared_memory_status": (), "register_system_shared_memory": ("region", "/region", 8),
    "unregister_system_shared_memory": (), "get_cuda_shared_memory_status": (),
    "register_cuda_shared_memory": ("region", b"AAAA", 0, 8), "unregister_cuda_shared_memory": (),
}
# Not calls: they change the client itself.
LOCAL = {"close", "register_plugin", "unregister_plugin", "plugin"}
results: dict[tuple[str, str], dict[str, str]] = {}


def note(client, call, credential, outcome):
    results.setdefault((client, call), {})[credential] = outcome
    print(f"{client:20} {call:40} {credential:13} {outcome}", flush=True)


async def settle(value):
    return await value if inspect.isawaitable(value) else value


def tensor(array, datatype):
    given = triton.InferInput("x", list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def alike(given, array):
    return given is not None and given.shape == array.shape and given.flatten().tolist() == array.flatten().tolist()


NUMBERS = np.array([[0.5, -2.0], [3.0, 1e-3]], np.float32)
ROWS = np.zeros((2, 64), np.float32)
ARRAYS = {
    "fp32": ("FP32", NUMBERS),
    "fp16": ("FP16", NUMBERS.astype(np.float16)),
    "bf16": ("BF16", NUMBERS.astype(ml_dtypes.bfloat16)),
    "int64": ("INT64", np.array([[1, -(2**62)]], np.int64)),
    "bool": ("BOOL", np.array([[True, False]])),
    "text": ("BYTES", np.array([["ä".encode(), b""]], np.object_)),
}


class Walk:
    """One client with one credential."""

    def __init__(self, name, client, credential):
        self.name, self.client, self.credential = name, client, credential
        self.headers = CREDENTIALS[credential]
        self.walked = set(LOCAL)

    def tell(self, label, outcome):
        note(self.name, label, self.credential, outcome)

    async def at(self, label, method, *arguments, check=lambda answer: True, refused=None, **options):
        self.walked.add(method)
        options.setdefault("headers", dict(self.headers))
        outcome = "ok"
        try:
            answer = await settle(getattr(self.client, method)(*arguments, **options))
            if refused:
                outcome = f"WRONG: not refused with {refused}"
            elif not check(answer):
                outcome = f"WRONG: {answer}"
        except InferenceServerException as error:
            told = (error.status() or "").removeprefix("StatusCode.")
            outcome = f"refused with {told}, as it should be" if refused == told else f"FAILED: {error}"
        except Exception as error:  # what a client cannot read may end in anything
            outcome = f"FAILED: {type(error).__name__}: {error}"
        self.tell(label, outcome)

    async def walk(self):
        at = self.at
        await at("is_server_live", "is_server_live", check=bool)
        await at("is_server_ready", "is_server_ready", check=bool)
        await at("is_model_ready", "is_model_ready", "digits", check=bool)
        await at("is_model_ready, of a version", "is_model_ready", "digits", "1", check=bool)
        await at("is_model_ready, of no model", "is_model_ready", "none", refused="NOT_FOUND")
        await at("get_server_metadata", "get_server_metadata", check=lambda it: it.name == "modelgate")
        await at("get_server_metadata, as nobody", "get_server_metadata", headers={}, refused="UNAUTHENTICATED")
        await at("get_model_metadata", "get_model_metadata", "digits", check=lambda it: list(it.inputs[0].shape) == [-1, 64])
        await at("get_model_metadata, of no model", "get_model_metadata", "none", refused="NOT_FOUND")
        await at("get_model_config", "get_model_config", "digits", check=lambda it: it.config.input[0].data_type == 11)
        await at("get_model_repository_index", "get_model_repository_index",
                 check=lambda it: {"digits", "bf16"} <= {model.name for model in it.models})
        await at("unload_model", "unload_model", "fp32")
        await at("infer, of an unloaded model", "infer", "fp32", [tensor(NUMBERS, "FP32")], refused="UNAVAILABLE")
        await at("load_model", "load_model", "fp32")
        await at("load_model, with a configuration", "load_model", "fp32", config="{}", refused="INVALID_ARGUMENT")
        for model, (datatype, array) in ARRAYS.items():
            await at(f"infer, {datatype}", "infer", model, [tensor(array, datatype)],
                     check=lambda it, array=array: alike(it.as_numpy("y"), array))
        digits = [tensor(ROWS, "FP32")]
        await at("infer, with an id", "infer", "digits", digits, request_id="a-7", check=lambda it: it.get_response().id == "a-7")
        await at("infer, no rows", "infer", "digits", [tensor(ROWS[:0], "FP32")], check=lambda it: it.as_numpy("label").shape == (0,))
        classes = [triton.InferRequestedOutput("probabilities", class_count=3)]
        await at("infer, classification", "infer", "digits", digits, outputs=classes,
                 check=lambda it: it.as_numpy("probabilities").shape == (2, 3))
        await at("infer, priority and timeout", "infer", "digits", digits, priority=4, timeout=5_000_000)
        await at("infer, a parameter of one's own", "infer", "digits", digits, parameters={"mine": "yes"})
        await at("infer, a sequence", "infer", "digits", digits, sequence_id=7, sequence_start=True, refused="INVALID_ARGUMENT")
        await at("infer, a wrong type", "infer", "digits", [tensor(ROWS.astype(np.float64), "FP64")], refused="INVALID_ARGUMENT")
        for packing in ("gzip", "deflate"):
            await at(f"infer, {packing}", "infer", "digits", digits, compression_algorithm=packing,
                     check=lambda it: it.as_numpy("label").shape == (2,))
        await at("get_inference_statistics", "get_inference_statistics",
                 check=lambda it: any(stats.name == "digits" and stats.inference_count for stats in it.model_stats))
        await at("get_inference_statistics, of a model", "get_inference_statistics", "digits",
                 check=lambda it: len(it.model_stats) == 1)
        for method, arguments in REFUSED.items():
            await at(method, method, *arguments, refused="UNIMPLEMENTED")
        await (self.stream_aio() if "stream_infer" in dir(self.client) else self.stream())
        for missing in sorted(name for name in public(self.client) if name not in self.walked):
            self.tell(missing, "FAILED: not walked")

    async def stream(self):
        """Calls with callbacks: one by one, and on a stream."""
        self.walked |= {"async_infer", "start_stream", "async_stream_infer", "stop_stream"}
        heard, digits = queue.Queue(), [tensor(ROWS, "FP32")]
        hear = lambda result, error: heard.put((result, error))
        self.client.async_infer("digits", digits, hear, headers=self.headers)
        result, error = heard.get(timeout=30)
        self.tell("async_infer", "ok" if error is None and alike(result.as_numpy("label"), np.array([1, 1])) else f"WRONG: {error}")
        self.client.start_stream(hear, headers=self.headers, compression_algorithm="gzip")
        for number in range(5):
            self.client.async_stream_infer("digits", digits, request_id=str(number))
        self.client.async_stream_infer("none", digits, request_id="none")
        answers = [heard.get(timeout=30) for _ in range(6)]
        self.client.stop_stream()
        fine = [result.get_response().id for result, error in answers[:5] if error is None] == list("01234")
        self.tell("start_stream, async_stream_infer, stop_stream", "ok" if fine else f"WRONG: {answers}")
        told = "no model" in str(answers[5][1])
        self.tell("async_stream_infer, of no model", "an error of its own, as it should be" if told else f"WRONG: {answers[5]}")
        self.client.start_stream(hear, headers={})
        try:
            self.client.async_stream_infer("digits", digits)
        except InferenceServerException:
            pass  # the refusal was faster, and is what is heard
        error = heard.get(timeout=30)[1]
        self.client.stop_stream()
        refused = error is not None and "UNAUTHENTICATED" in str(error)
        self.tell("start_stream, as nobody", "refused with UNAUTHENTICATED, as it should be" if refused else f"WRONG: {error}")

    async def stream_aio(self):
        self.walked.add("stream_infer")

        async def calls():
            for number in range(5):
                yield {"model_name": "digits", "inputs": [tensor(ROWS, "FP32")], "request_id": str(number)}
            yield {"model_name": "none", "inputs": [tensor(ROWS, "FP32")]}

        answers = [answer async for answer in self.client.stream_infer(calls(), headers=self.headers, compression_algorithm="deflate")]
        fine = [result.get_response().id for result, error in answers[:5] if error is None] == list("01234")
        self.tell("stream_infer", "ok" if fine else f"WRONG: {answers}")
        told = len(answers) == 6 and "no model" in str(answers[5][1])
        self.tell("stream_infer, of no model", "an error of its own, as it should be" if told else f"WRONG: {answers[5:]}")


def public(client):
    return [name for name, _ in inspect.getmembers(client, callable) if not name.startswith("_")]


async def main():
    for credential in CREDENTIALS:
        client = triton.InferenceServerClient(ADDRESS)
        await Walk("tritonclient.grpc", client, credential).walk()
        client.close()
        async with triton_aio.InferenceServerClient(ADDRESS) as client:
            await Walk("tritonclient.grpc.aio", client, credential).walk()
    if len(sys.argv) > 4:
        write(sys.argv[4])
    wrong = [call for call, outcomes in results.items() if any(text.startswith(("WRONG", "FAILED")) for text in outcomes.values())]
    sys.exit(f"{len(wrong)} calls went wrong: {wrong}" if wrong else 0)


def write(page):
    used = ", ".join(f"{name} {version(name)}" for name in ("tritonclient", "grpcio", "numpy"))
    count = sum(len(outcomes) for outcomes in results.values())
    lines = [
        "# Compatibility with Triton's and KServe's gRPC clients", "",
        f"Made by `scripts/prove grpc-clients`: every public call of these clients, with a bearer token and with an API key, against a\n"
        f"server with the demo model and an identity for each type ({count} calls). {used}. The rows of `kserve`\n"
        "are of its gRPC client, walked by itself.", "",
        "| client | call | bearer token | API key |", "|---|---|---|---|",
    ]
    for (client, call), outcomes in results.items():
        lines.append(f"| `{client}` | {call} | {outcomes['bearer token']} | {outcomes['API key']} |")
    with open(page, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


asyncio.run(main())
