"""LitServe, with its batches, which are what it is chosen for, where the model takes them."""

import base64

import litserve
import numpy
from model import PORT, WORKLOAD, classify_floats, classify_picture, open_session, run_tensor


class Api(litserve.LitAPI):
    def setup(self, device):
        self.session = open_session()

    def decode_request(self, request):
        if WORKLOAD == "image":
            return request["file"].file.read()
        return request["x"] if WORKLOAD == "tiny" else base64.b64decode(request["x"])

    def predict(self, content):
        if WORKLOAD == "image":
            return classify_picture(self.session, content)
        if WORKLOAD == "tiny":
            return classify_floats(self.session, content)
        return {"y": base64.b64encode(run_tensor(self.session, content).tobytes()).decode()}

    def encode_response(self, output):
        return output


class BatchedApi(Api):
    """The same for eight rows at once."""

    def predict(self, rows):
        labels, probabilities = self.session.run(None, {self.session.input_name: numpy.array(rows, numpy.float32)})
        return [{"label": int(label), "probabilities": row.tolist()} for label, row in zip(labels, probabilities)]

    def batch(self, inputs):
        return inputs

    def unbatch(self, outputs):
        return outputs


if __name__ == "__main__":
    api = BatchedApi(max_batch_size=8, batch_timeout=0.005) if WORKLOAD == "tiny" else Api()
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=PORT, num_api_servers=1, generate_client_file=False, log_level="warning")
