"""Writes what the comparison runs on: two networks of the `onnx` package, and what is sent.

    make_models.py FOLDER

The package's networks have real architectures and constant weights: they are drawn at random here, so that the best five
classes differ.
"""

import pathlib
import sys

import numpy
import onnx
import onnx.backend.test
from onnx import helper, numpy_helper
from PIL import Image

# So that the last softmax does not give one class everything.
CALM = 0.0005
LIGHT = pathlib.Path(onnx.backend.test.__file__).parent / "data/light"


def randomised(name):
    model = onnx.load(LIGHT / f"{name}.onnx")
    graph, generator = model.graph, numpy.random.default_rng(1)
    shapes = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    norms = {name for node in graph.node if node.op_type == "BatchNormalization" for name in (node.input[1], node.input[4])}
    classifier = [node for node in graph.node if node.op_type in ("Conv", "Gemm")][-1].input[1]
    kept, constants = [], {}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            constants[node.output[0]] = draw(generator, tuple(shapes.pop(node.input[0])), node.output[0] in norms)
        else:
            kept.append(node)
    constants[classifier] *= CALM
    used = {name for node in kept for name in node.input}
    constants |= {name: value for name, value in shapes.items() if name in used}
    given = [each for each in graph.input if each.name in used - constants.keys()]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(kept, name, given, graph.output, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=4)


def draw(generator, shape, norm):
    if len(shape) < 2:
        return numpy.ones(shape, numpy.float32) if norm else numpy.zeros(shape, numpy.float32)
    fan_in = int(numpy.prod(shape[1:]))
    return generator.normal(0, (2 / fan_in) ** 0.5, shape).astype(numpy.float32)


def photograph(path):
    """640 × 480, smooth with some noise: it compresses like a photograph."""
    generator = numpy.random.default_rng(2)
    small = Image.fromarray(generator.integers(0, 256, (12, 16, 3), numpy.uint8))
    smooth = numpy.asarray(small.resize((640, 480), Image.BICUBIC), numpy.int16)
    noisy = numpy.clip(smooth + generator.integers(-12, 13, smooth.shape), 0, 255).astype(numpy.uint8)
    Image.fromarray(noisy).save(path, quality=85)


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, file in [("light_resnet50", "resnet50"), ("light_squeezenet", "squeezenet")]:
        onnx.save(randomised(name), folder / f"{file}.onnx")
    photograph(folder / "photograph.jpg")
    numpy.random.default_rng(3).normal(0, 1, (1, 3, 224, 224)).astype(numpy.float32).tofile(folder / "tensor.bin")


if __name__ == "__main__":
    main()
