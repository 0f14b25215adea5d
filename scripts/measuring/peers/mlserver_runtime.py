"""MLServer's own runtime for the workloads; it speaks the Open Inference Protocol, in JSON."""

import base64

import numpy
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from model import WORKLOAD, classify_picture, open_session


class Peer(MLModel):
    async def load(self):
        self.session = open_session()
        return True

    async def predict(self, payload):
        inputs = payload.inputs[0]
        if WORKLOAD == "image":
            content = inputs.data[0]
            best = classify_picture(self.session, base64.b64decode(content))["predictions"]
            outputs = [NumpyCodec.encode_output("index", numpy.array([[each["index"] for each in best]])),
                       NumpyCodec.encode_output("probability", numpy.array([[each["probability"] for each in best]]))]
        else:
            tensor = NumpyCodec.decode_input(inputs).astype(numpy.float32)
            names = [output.name for output in self.session.get_outputs()]
            values = self.session.run(None, {self.session.input_name: tensor})
            outputs = [NumpyCodec.encode_output(name, value) for name, value in zip(names, values)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
