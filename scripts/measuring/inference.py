"""What an authenticated inference costs one caller, and the stores."""

import http.client
import json
import tempfile
import time

from .server import ROOT, Server, stores_of

INFERENCES = 2000
WARM_UP = 50


def measure_inference(pair):
    with tempfile.TemporaryDirectory() as folder, Server(folder, stores_of(pair)) as server:
        tensor = json.dumps(infer_request([1, 64], [8.0] * 64))
        picture = (ROOT / "models/digits/samples/3-1.png").read_bytes()
        figures = {}
        for credential, headers in server.credentials().items():
            for kind, path, body, media in [("tensor", "/v2/models/digits/infer", tensor, "application/json"),
                                            ("picture", "/api/v1/models/digits/predict", picture, "image/png")]:
                figures[f"{kind}, {credential}"] = run(server, path, body, {**headers, "Content-Type": media})
        figures["resident MiB after"] = server.resident_mib()
        return figures


def infer_request(shape, data):
    return {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}]}


def run(server, path, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(WARM_UP):
        server.call("POST", path, body, headers, connection)
    queries, trips = server.counters()
    times = []
    for _ in range(INFERENCES):
        begun = time.perf_counter()
        status, answer = server.call("POST", path, body, headers, connection)
        times.append((time.perf_counter() - begun) * 1e6)
        assert status == 200, answer
    after_queries, after_trips = server.counters()
    # Reading the counters with METRICS_TOKEN costs neither.
    queries, trips = after_queries - queries, after_trips - trips
    assert queries == 0, f"{queries} queries for {INFERENCES} inferences"
    assert trips <= INFERENCES, f"{trips} round trips for {INFERENCES} inferences"
    times.sort()
    return {"p50 µs": times[len(times) // 2], "p99 µs": times[len(times) * 99 // 100], "SQL": queries,
            "round trips": trips / INFERENCES}


def report_inference(pair, figures):
    lines = [f"| {pair}, {INFERENCES} inferences, one caller | p50 µs | p99 µs | SQL | round trips each |", "|---|---|---|---|---|"]
    for name, row in figures.items():
        if name != "resident MiB after":
            lines.append(f"| {name} | {row['p50 µs']:.0f} | {row['p99 µs']:.0f} | {row['SQL']} | {row['round trips']:.2f} |")
    return "\n".join([*lines, "", f"Resident after these: {figures['resident MiB after']:.1f} MiB."])
