"""Walks every call of `kserve`'s gRPC client with a bearer token and with an API key.

    walk_kserve_grpc.py ADDRESS TOKEN KEY [PAGE]

Prints one line for each call, and adds the same to the table at the end of PAGE, which `walk_grpc.py` wrote: the two clients
cannot be loaded into one process, for both register the protocol's messages. A call that is not walked, and one that
does not do what is said here, fails the run.
"""

import asyncio
import inspect
import logging
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.errors import InvalidInput

ADDRESS, TOKEN, KEY = sys.argv[1:4]
CREDENTIALS = {"bearer token": [("authorization", f"Bearer {TOKEN}")], "API key": [("x-api-key", KEY)]}
NUMBERS = np.array([[0.5, -2.0], [3.0, 1e-3]], np.float32)
ARRAYS = {
    "fp32": ("FP32", NUMBERS),
    "fp16": ("FP16", NUMBERS.astype(np.float16)),
    "int64": ("INT64", np.array([[1, -(2**62)]], np.int64)),
    "bool": ("BOOL", np.array([[True, False]])),
    "text": ("BYTES", np.array([["ä".encode(), b""]], np.object_)),
}
results: dict[str, dict[str, str]] = {}


def request(model, array, datatype, raw):
    tensor = InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=raw)
    return InferRequest(model, [tensor], request_id="a-7")


def alike(answer, array):
    given = answer.get_output_by_name("y").as_numpy()
    return answer.id == "a-7" and given.shape == array.shape and given.flatten().tolist() == array.flatten().tolist()


class Walk:
    """One client with one credential."""

    def __init__(self, client, credential):
        self.client, self.credential, self.walked = client, credential, {"close"}

    async def at(self, label, method, *arguments, check=bool, refused=None, **options):
        self.walked.add(method)
        options.setdefault("headers", CREDENTIALS[self.credential])
        try:
            answer = await getattr(self.client, method)(*arguments, **options)
            outcome = f"WRONG: not refused with {refused}" if refused else "ok" if check(answer) else f"WRONG: {answer}"
        except grpc.RpcError as error:
            told = error.code().name
            outcome = f"refused with {told}, as it should be" if told == refused else f"FAILED: {error}"
        except InvalidInput as error:
            outcome = "refused by the client itself, as it should be" if refused == "InvalidInput" else f"FAILED: {error}"
        results.setdefault(label, {})[self.credential] = outcome
        print(f"{'kserve, gRPC':20} {label:40} {self.credential:13} {outcome}", flush=True)

    async def walk(self):
        at = self.at
        await at("is_server_live", "is_server_live")
        await at("is_server_live, as nobody", "is_server_live", headers=None)
        await at("is_server_ready", "is_server_ready")
        await at("is_model_ready", "is_model_ready", "digits")
        await at("is_model_ready, of no model", "is_model_ready", "none", refused="NOT_FOUND")
        await at("is_model_ready, as nobody", "is_model_ready", "digits", headers=None, refused="UNAUTHENTICATED")
        for model, (datatype, array) in ARRAYS.items():
            for raw in (True, False):
                if datatype == "FP16" and not raw:
                    continue  # this client refuses it, as the server would
                await at(f"infer, {datatype}, {'raw' if raw else 'contents'}", "infer", request(model, array, datatype, raw),
                         check=lambda it, array=array: alike(it, array))
        await at("infer, in time", "infer", request("fp32", NUMBERS, "FP32", True), timeout=5)
        await at("infer, of no model", "infer", request("none", NUMBERS, "FP32", True), refused="NOT_FOUND")
        await at("infer, a wrong type", "infer", request("fp32", NUMBERS.astype(np.float64), "FP64", True), refused="INVALID_ARGUMENT")
        await at("infer, no request", "infer", {"inputs": []}, refused="InvalidInput")
        for name, _ in inspect.getmembers(type(self.client), inspect.isroutine):
            if not name.startswith("_") and name not in self.walked:
                results.setdefault(name, {})[self.credential] = "FAILED: not walked"


async def main():
    logging.disable()  # the client logs every refusal itself
    for credential in CREDENTIALS:
        async with InferenceGRPCClient(ADDRESS) as client:
            await Walk(client, credential).walk()
    if len(sys.argv) > 4:
        with open(sys.argv[4], "a", encoding="utf-8") as page:
            for call, outcomes in results.items():
                page.write(f"| `kserve` | {call} | {outcomes['bearer token']} | {outcomes['API key']} |\n")
    wrong = [call for call, outcomes in results.items() if any(text.startswith(("WRONG", "FAILED")) for text in outcomes.values())]
    sys.exit(f"{len(wrong)} calls went wrong: {wrong}" if wrong else 0)


asyncio.run(main())
