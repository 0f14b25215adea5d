"""What each of the peers serves, written once: the model of a workload, behind the least code that its users would write."""

import io
import os
import pathlib

import numpy
import onnxruntime
from PIL import Image

WORKLOAD = os.environ["PEER_WORKLOAD"]  # tiny, image or tensor
MODEL = pathlib.Path(os.environ["PEER_MODEL"])
PORT = int(os.environ["PEER_PORT"])
TENSOR_SHAPE = (1, 3, 224, 224)
MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32)
STD = numpy.array([0.229, 0.224, 0.225], numpy.float32)


def open_session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    session.input_name = session.get_inputs()[0].name
    return session


def classify_floats(session, floats):
    """The tiny workload: 64 numbers to a label and ten probabilities."""
    label, probabilities = session.run(None, {session.input_name: numpy.array([floats], numpy.float32)})
    return {"label": int(label[0]), "probabilities": probabilities[0].tolist()}


def classify_picture(session, encoded):
    """The image workload: an encoded picture to its five best classes."""
    return classify_image(session, Image.open(io.BytesIO(encoded)))


def classify_image(session, image):
    pixels = numpy.asarray(image.convert("RGB").resize((224, 224), Image.BILINEAR), numpy.float32)
    tensor = numpy.ascontiguousarray(((pixels / 255 - MEAN) / STD).transpose(2, 0, 1)[None])
    probabilities = session.run(None, {session.input_name: tensor})[0].reshape(-1)
    best = numpy.argsort(probabilities)[-5:][::-1]
    return {"predictions": [{"index": int(index), "probability": float(probabilities[index])} for index in best]}


def run_tensor(session, raw):
    """The tensor workload: little-endian floats in and out."""
    tensor = numpy.frombuffer(raw, numpy.float32).reshape(TENSOR_SHAPE)
    return session.run(None, {session.input_name: tensor})[0]
