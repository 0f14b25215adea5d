"""Writes ONNX files: just enough of the protobuf encoding for models that are measured."""

import array
import random

FLOAT = 1


def varint(value):
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded + bytes([value]))


def number(field, value):
    return varint(field << 3) + varint(value)


def content(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def value_info(name, shape):
    """An input or output of floats; a dimension that is a text is variable."""
    dimensions = b"".join(content(1, content(2, size) if isinstance(size, str) else number(1, size)) for size in shape)
    return content(1, name) + content(2, content(1, number(1, FLOAT) + content(2, dimensions)))


def weights(name, shape, scale):
    """Random floats, the same each time."""
    generator, count = random.Random(name), 1
    for size in shape:
        count *= size
    values = array.array("f", (generator.uniform(-scale, scale) for _ in range(count)))
    return b"".join(number(1, size) for size in shape) + number(2, FLOAT) + content(8, name) + content(9, values.tobytes())


def node(operator, inputs, outputs):
    return b"".join(content(1, name) for name in inputs) + b"".join(content(2, name) for name in outputs) + content(4, operator)


def model(nodes, constants, inputs, outputs):
    parts = [(1, nodes), (5, constants), (11, inputs), (12, outputs)]
    graph = content(2, "graph") + b"".join(content(field, part) for field, group in parts for part in group)
    return number(1, 8) + content(8, number(2, 17)) + content(7, graph)


def layers(width, count, rows=None):
    """`y` of `x`, both [batch, width], through this many dense layers with weights of their own.

    With `rows` the batch is 1, and each layer works on that many rows that are made of it: much work for little input.
    """
    nodes, constants, last = [], [], "x"
    if rows:
        constants += [weights("spread", [rows, 1], 1.0), weights("gather", [1, rows], 1 / rows)]
        nodes.append(node("MatMul", ["spread", last], [last := "spread x"]))
    for layer in range(count):
        constants.append(weights(f"w{layer}", [width, width], (3 / width) ** 0.5))
        nodes += [node("MatMul", [last, f"w{layer}"], [f"m{layer}"]), node("Relu", [f"m{layer}"], [f"h{layer}"])]
        last = f"h{layer}"
    nodes.append(node("MatMul", ["gather", last], ["y"]) if rows else node("Identity", [last], ["y"]))
    shape = [1 if rows else "batch", width]
    return model(nodes, constants, [value_info("x", shape)], [value_info("y", shape)])
