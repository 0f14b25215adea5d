"""The demo model in all the shapes in which it is asked."""

import array
import json

from .server import ROOT

WIDTH = 64
MODEL = ROOT / "models/digits/1/model.onnx"
FLOATS = [8.0] * WIDTH
RAW = array.array("f", FLOATS).tobytes()


def json_request():
    """Body and headers of an inference in JSON."""
    tensor = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": FLOATS}
    return json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}


def binary_request(name="x", shape=(1, WIDTH), raw=RAW):
    """Body and headers of an inference with binary tensors in both directions."""
    tensor = {"name": name, "shape": list(shape), "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + raw, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
