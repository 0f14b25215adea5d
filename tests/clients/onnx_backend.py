"""Serves the models of ONNX's own backend test data and compares the answers with the expected outputs.

    onnx_backend.py MODELGATE PAGE

Every test of the pinned `onnx` package whose inputs are tensors becomes a model of a repository; each of its data sets
is sent as JSON and as binary data, and the outputs are compared within the tolerances of the test. Servers are started
for some hundred models at a time.
"""

import collections
import http.client
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import ml_dtypes
import numpy as np
import onnx
import onnx.backend.test.loader as loader
import onnxruntime
from onnx import SequenceProto, TensorProto, numpy_helper

MODELGATE, PAGE = sys.argv[1:3]
MODELS_AT_A_TIME = 250
START_SECONDS = 300
NAMES = {
    np.dtype(np.bool_): "BOOL", np.dtype(np.uint8): "UINT8", np.dtype(np.uint16): "UINT16", np.dtype(np.uint32): "UINT32",
    np.dtype(np.uint64): "UINT64", np.dtype(np.int8): "INT8", np.dtype(np.int16): "INT16", np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64", np.dtype(np.float16): "FP16", np.dtype(ml_dtypes.bfloat16): "BF16",
    np.dtype(np.float32): "FP32", np.dtype(np.float64): "FP64",
}
DTYPES = {name: dtype for dtype, name in NAMES.items()}
RANDOM = {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
onnxruntime.set_default_logger_severity(4)
Case = collections.namedtuple("Case", "kind name model path sets rtol atol")


class NotServed(Exception):
    """Why a value has no place in the protocol."""


def cases():
    for kind in ("node", "simple", "pytorch-operator", "pytorch-converted"):
        for test in loader.load_model_tests(kind=kind):
            if test.model_dir:
                folder = pathlib.Path(test.model_dir)
                path = folder / "model.onnx"
                sets = [(values(data, "input"), values(data, "output")) for data in sorted(folder.glob("test_data_set_*"))]
                yield Case(kind, test.name, onnx.load(path), path, sets, test.rtol, test.atol)
            else:
                yield Case(kind, test.name, test.model, None, test.data_sets, test.rtol, test.atol)
    light = pathlib.Path(loader.DATA_DIR, "light")
    for path in sorted(light.glob("*.onnx")):
        expected = TensorProto.FromString((light / f"{path.stem}_output_0.pb").read_bytes())
        model = onnx.load(path)
        shape = [dimension.dim_value for dimension in graph_inputs(model)[0].type.tensor_type.shape.dim]
        # The data that the package's own runner feeds these models.
        given = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
        yield Case("light", path.stem, model, path, [([given], [numpy_helper.to_array(expected)])], 1e-3, 1e-7)


def values(folder, which):
    files = sorted(folder.glob(f"{which}_*.pb"), key=lambda file: int(file.stem.split("_")[1]))
    return [file.read_bytes() for file in files]


def graph_inputs(model):
    constants = {constant.name for constant in model.graph.initializer}
    return [given for given in model.graph.input if given.name not in constants]


def array(value, info):
    """A value of a data set; those of other kinds than tensors have no place in the protocol's inputs."""
    if not info.type.HasField("tensor_type"):
        raise NotServed(f"{info.type.WhichOneof('value')} in place of a tensor")
    if isinstance(value, bytes):
        value = TensorProto.FromString(value)
    given = numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
    if given.dtype in NAMES or given.dtype.kind in "OUS":
        return given
    raise NotServed(f"elements of type {given.dtype}")


def expected_array(value, info):
    """An expected output; a sequence of tensors of one shape is answered as one tensor, which holds them one after the other."""
    if not info.type.HasField("sequence_type") or not info.type.sequence_type.elem_type.HasField("tensor_type"):
        return array(value, info)
    if isinstance(value, bytes):
        value = SequenceProto.FromString(value)
    parts = numpy_helper.to_list(value) if isinstance(value, SequenceProto) else [np.asarray(part) for part in value]
    if len({part.shape for part in parts}) != 1:
        raise NotServed("a sequence of tensors of different shapes, or of none")
    stacked = np.stack(parts)
    if stacked.dtype in NAMES or stacked.dtype.kind in "OUS":
        return stacked
    raise NotServed(f"elements of type {stacked.dtype}")


def datatype(given):
    return NAMES.get(given.dtype, "BYTES")


def texts(given):
    return [item if isinstance(item, bytes) else str(item).encode() for item in given.flatten().tolist()]


def as_bytes(given):
    if datatype(given) != "BYTES":
        return np.ascontiguousarray(given).tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in texts(given))


def from_bytes(output, data):
    if output["datatype"] != "BYTES":
        return np.frombuffer(data, DTYPES[output["datatype"]]).reshape(output["shape"])
    found = []
    while data:
        length = struct.unpack_from("<I", data)[0]
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return np.array(found, np.object_).reshape(output["shape"])


def from_json(output):
    if output["datatype"] == "BYTES":
        found = [text.encode() for text in output["data"]]
        return np.array(found, np.object_).reshape(output["shape"])
    numbers = [np.nan if item is None else item for item in output["data"]]
    return np.array(numbers, DTYPES[output["datatype"]]).reshape(output["shape"])


def fits_json(arrays):
    return all(datatype(it) not in ("FP16", "BF16") and (it.dtype.kind != "f" or np.isfinite(it).all()) for it in arrays)


class Server:
    def __init__(self, models, environment):
        self.folder = tempfile.TemporaryDirectory()
        self.log = open(os.path.join(self.folder.name, "log"), "w+", encoding="utf-8")
        settings = {"APP_ENV": "development", "DATA_DIR": os.path.join(self.folder.name, "data"), "MODEL_DIR": models, "PORT": "0"}
        limits = ["GUARD_PER_SECOND", "RATE_LIMIT_PER_MINUTE", "RATE_LIMIT_INFER_PER_MINUTE", "RATE_LIMIT_READ_PER_MINUTE",
                  "RATE_LIMIT_PER_HOUR"]
        self.environment = {**environment, **settings, **{name: "0" for name in limits}}
        self.process = subprocess.Popen([MODELGATE, "serve"], env=self.environment, stdout=self.log)
        self.host = self.wait()
        command = [MODELGATE, "admin", "create", "--email", "admin@example.com", "--generate"]
        password = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout.strip()
        body = json.dumps({"email": "admin@example.com", "password": password}).encode()
        request = urllib.request.Request(f"http://{self.host}/api/v1/auth/login", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            self.token = json.load(answer)["access_token"]
        self.connection = http.client.HTTPConnection(self.host)

    def wait(self):
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            with open(self.log.name, encoding="utf-8") as log:
                for line in log:
                    if '"message":"listening"' in line:
                        return json.loads(line)["address"]
            time.sleep(0.2)
        sys.exit("the server does not start")

    def post(self, path, body, headers=()):
        self.connection.request("POST", path, body, {"Authorization": f"Bearer {self.token}", **dict(headers)})
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.folder.cleanup()


def ask(server, case, inputs, binary):
    """The answer to a data set, its outputs by name; the server's word where it refuses."""
    header, tail = {"inputs": [], "parameters": {"binary_data_output": binary}}, b""
    for name, given in inputs:
        tensor = {"name": name, "shape": list(given.shape), "datatype": datatype(given)}
        if binary:
            data = as_bytes(given)
            tensor["parameters"], tail = {"binary_data_size": len(data)}, tail + data
        elif datatype(given) == "BYTES":
            tensor["data"] = [text.decode() for text in texts(given)]
        else:
            tensor["data"] = given.flatten().tolist()
        header["inputs"].append(tensor)
    head = json.dumps(header).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    status, headers, body = server.post(f"/v2/models/{case.name}/infer", head + tail, headers)
    if status != 200:
        return json.loads(body)["error"]
    length = int(headers.get("Inference-Header-Content-Length", len(body)))
    outputs, rest = json.loads(body[:length])["outputs"], body[length:]
    found = {}
    for output in outputs:
        if binary:
            size = output["parameters"]["binary_data_size"]
            found[output["name"]], rest = from_bytes(output, rest[:size]), rest[size:]
        else:
            found[output["name"]] = from_json(output)
    return found


def difference(given, expected, case):
    """What differs, if anything; JSON's null stands for whatever is not finite."""
    if datatype(expected) == "BYTES":
        return None if texts(given) == texts(expected) and given.shape == expected.shape else "other texts"
    if given.dtype != expected.dtype or given.shape != expected.shape:
        return f"{given.dtype}{list(given.shape)} in place of {expected.dtype}{list(expected.shape)}"
    given, expected = (it.astype(np.float64) if it.dtype.kind in "fV" else it for it in (given, expected))
    if given.dtype.kind == "f":
        expected = np.where(np.isfinite(expected) | ~np.isnan(given), expected, np.nan)
    try:
        np.testing.assert_allclose(given, expected, rtol=case.rtol, atol=case.atol)
    except AssertionError:
        return "other values"


# What the runtime says when it does not load a model, and what that means.
REFUSALS = {
    "Unsupported model IR version": "its format is newer than the runtime",
    "is under development": "its opset is newer than the runtime",
    "Could not find an implementation": "an operator is not implemented for these types",
    "Failed to find kernel": "an operator is not implemented for these types",
    "is not a registered function": "an operator is not known",
    "Unrecognized attribute": "an attribute of an operator is newer than the runtime",
    "Failed to construct locale": "this machine does not have the locale",
    "Batchwise recurrent operations": "recurrent operators with the batch first are not implemented",
    "Type Error": "its types do not fit together",
}


def refusal(case):
    """Why the runtime does not load a model without a server either, in short; none where it does."""
    try:
        onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        return next((meaning for part, meaning in REFUSALS.items() if part in str(error)), "for another reason")


def by_itself(case, inputs):
    """What the runtime says without a server."""
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
        feed = {name: given.astype(object) if given.dtype.kind in "US" else given for name, given in inputs}
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feed)))
    except Exception as error:
        return str(error)


def judge(case, given, expected, inputs):
    """One of `right`, `the runtime's`, `random`, and what is wrong."""
    problem = given if isinstance(given, str) else None
    for name, wanted in [] if problem else expected:
        problem = problem or ("an output is missing" if name not in given else difference(given[name], wanted, case))
    if not problem:
        return "right", None
    if any(node.op_type in RANDOM for node in case.model.graph.node):
        return "random", problem
    own = by_itself(case, inputs)
    if isinstance(own, str):
        return ("the runtime's", problem) if isinstance(given, str) else ("wrong", problem)
    try:
        alike = not isinstance(given, str) and all(difference(given[name], np.asarray(own[name]), case) is None for name, _ in expected)
    except Exception:
        alike = False
    return ("the runtime's", problem) if alike else ("wrong", problem)


def main():
    environment, tally, reasons, troubles = dict(os.environ), collections.Counter(), collections.Counter(), []
    everything = list(cases())
    todo = []
    for case in everything:
        try:
            infos = graph_inputs(case.model)
            sets = []
            for given, expected in case.sets:
                inputs = [(info.name, array(value, info)) for value, info in zip(given, infos)]
                outputs = [(info.name, expected_array(value, info)) for value, info in zip(expected, case.model.graph.output)]
                sets.append((inputs, outputs))
            todo.append((case, sets))
        except NotServed as reason:
            reasons[f"has {reason}"] += 1
            tally[case.kind, "not served"] += 1
    for start in range(0, len(todo), MODELS_AT_A_TIME):
        part = todo[start : start + MODELS_AT_A_TIME]
        with tempfile.TemporaryDirectory() as models:
            for case, _ in part:
                folder = pathlib.Path(models, case.name)
                (folder / "1").mkdir(parents=True)
                (folder / "1" / "model.onnx").write_bytes(case.model.SerializeToString())
                (folder / "model.toml").write_text("[runtime]\ninstances = 1\nwarm_up = false\n", encoding="utf-8")
            server = Server(models, environment)
            index = {line["name"]: line for line in json.loads(server.post("/v2/repository/index", b"")[2])}
            for case, sets in part:
                line = index[case.name]
                if line["state"] != "READY":
                    tally[case.kind, "not served"] += 1
                    why = refusal(case)
                    reasons[f"the runtime does not load it: {why}" if why else line["reason"]] += 1
                    if not why:
                        troubles.append((case, "loading", line["reason"]))
                    continue
                tally[case.kind, "served"] += 1
                for inputs, expected in sets:
                    for binary in (True, False):
                        way = "binary" if binary else "JSON"
                        if not binary and not fits_json([given for _, given in inputs + expected if given.dtype.kind != "O"] ):
                            tally[case.kind, f"{way}: cannot carry it"] += 1
                            continue
                        verdict, problem = judge(case, ask(server, case, inputs, binary), expected, inputs)
                        tally[case.kind, f"{way}: {verdict}"] += 1
                        if verdict == "wrong":
                            troubles.append((case, way, problem))
            server.stop()
        print(f"{min(start + MODELS_AT_A_TIME, len(todo))} of {len(todo)} models", flush=True)
    page = report(everything, tally, reasons, troubles)
    pathlib.Path(PAGE).write_text(page, encoding="utf-8")
    print(page)
    return bool(troubles)


def report(everything, tally, reasons, troubles):
    kinds = list(dict.fromkeys(case.kind for case in everything))
    columns = ["served", "not served", "binary: right", "binary: the runtime's", "binary: random", "binary: wrong", "JSON: right",
               "JSON: the runtime's", "JSON: random", "JSON: wrong", "JSON: cannot carry it"]
    lines = [
        "# ONNX's own test data, served", "",
        "Made by `scripts/prove onnx-backend`: the backend tests of the Python package `onnx`, each served as a model, its data sets",
        "sent as JSON and as binary data, and the answers compared with the expected outputs within the tolerances of the test.",
        f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}.", "",
        "*The runtime's* are answers other than expected that ONNX Runtime gives by itself as well, without a server; *random* those of",
        "operators that draw random numbers. What JSON cannot carry is FP16, BF16, NaN and infinity. An output that is a sequence of",
        "tensors is expected as one tensor that holds them one after the other.", "",
        "| kind | tests | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|",
    ]
    rows = [(kind, [case for case in everything if case.kind == kind]) for kind in kinds]
    for kind, tests in rows:
        lines.append(f"| {kind} | {len(tests)} | " + " | ".join(str(tally[kind, column]) for column in columns) + " |")
    sums = [str(sum(tally[kind, column] for kind in kinds)) for column in columns]
    lines.append(f"| all | {len(everything)} | " + " | ".join(sums) + " |")
    lines += ["", "## Why the others are not served", "", "| reason | tests |", "|---|---|"]
    lines += [f"| {reason} | {count} |" for reason, count in reasons.most_common()]
    if troubles:
        lines += ["", "## What is wrong", "", "| test | way | what |", "|---|---|---|"]
        lines += [f"| {case.kind}/{case.name} | {way} | {problem} |" for case, way, problem in troubles]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
