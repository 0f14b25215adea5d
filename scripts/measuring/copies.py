"""What copies of tensors cost: around a run of the runtime, and as a part of a whole request."""

import array
import os
import pathlib
import tempfile

from . import onnx_file, pinned, tiny
from .server import Server, stores_of

# Floats in and out, and how often each way is gone.
SIZES = {"1 KiB": (256, 3000), "64 KiB": (16 << 10, 3000), "4 MiB": (1 << 20, 300)}
SECONDS = 3
WAYS = ["a copy alone", "run alone", "run, output copied", "run, output lent", "run, output bound"]


def measure_copies():
    figures = {}
    with tempfile.TemporaryDirectory() as folder, pinned.kept_awake():
        models = pathlib.Path(folder, "models")
        for name, (width, _) in SIZES.items():
            file = models / f"negated-{width}" / "1" / "model.onnx"
            file.parent.mkdir(parents=True)
            infos = [onnx_file.value_info(tensor, ["batch", width]) for tensor in "xy"]
            file.write_bytes(onnx_file.model([onnx_file.node("Neg", ["x"], ["y"])], [], infos[:1], infos[1:]))
            figures[name] = around_a_run(file, width)
        with Server(folder, stores_of("embedded"), models, core=pinned.SERVER_CORE) as server:
            token = server.credentials()["token"]
            for name, (width, _) in SIZES.items():
                body, media = tiny.binary_request("x", (1, width), array.array("f", [0.5] * width).tobytes())
                asked = pinned.load(server.port, f"/v2/models/negated-{width}/infer", body, {**token, **media},
                                    connections=1, seconds=SECONDS)
                figures[name]["request"] = asked["p50 us"]
    return figures


def around_a_run(file, width):
    library = os.environ.get("ORT_DYLIB_PATH", ".onnxruntime/libonnxruntime.so")
    runs = next(runs for floats, runs in SIZES.values() if floats == width)
    return pinned.bench("copies", "--model", file, "--shape", f"1,{width}", "--runs", runs, "--library", library,
                        core=pinned.SERVER_CORE)


def report_copies(figures):
    lines = [f"| in and out, each, p50 µs | {' | '.join(WAYS)} | a whole request, one caller |", f"|---{'|---' * len(WAYS)}|---|"]
    for name, found in figures.items():
        lines.append(f"| {name} | {' | '.join(f'{found[way]:.1f}' for way in WAYS)} | {found['request']:.0f} |")
    return "\n".join(lines)
