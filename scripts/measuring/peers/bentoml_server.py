"""BentoML, one worker: `bentoml serve bentoml_server:Peer`."""

import pathlib

import bentoml
import numpy
from model import WORKLOAD, classify_floats, classify_image, open_session, run_tensor
from PIL.Image import Image

if WORKLOAD == "tiny":
    @bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
    class Peer:
        def __init__(self):
            self.session = open_session()

        @bentoml.api
        def predict(self, x: list[float]) -> dict:
            return classify_floats(self.session, x)

elif WORKLOAD == "image":
    @bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
    class Peer:
        def __init__(self):
            self.session = open_session()

        @bentoml.api
        def predict(self, file: Image) -> dict:
            return classify_image(self.session, file)

else:
    @bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
    class Peer:
        def __init__(self):
            self.session = open_session()

        @bentoml.api
        def predict(self, file: pathlib.Path) -> numpy.ndarray:
            return run_tensor(self.session, file.read_bytes())
