"""Writes a model repository of identities: `y = x`, one for each type that the clients are tried with."""

import pathlib
import sys

from onnx import TensorProto, helper, save

TYPES = {
    "fp32": TensorProto.FLOAT,
    "fp16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "text": TensorProto.STRING,
}


def identity(element):
    tensor = lambda name: helper.make_tensor_value_info(name, element, ["n", 2])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [tensor("x")], [tensor("y")])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


if __name__ == "__main__":
    for name, element in TYPES.items():
        version = pathlib.Path(sys.argv[1], name, "1")
        version.mkdir(parents=True)
        save(identity(element), version / "model.onnx")
