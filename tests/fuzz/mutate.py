"""Mutated pictures, tensors, headers and forms at a running server: no crash, no 5xx, flat memory.

    mutate.py URL PROCESS TOKEN SAMPLES PAGE INPUTS

INPUTS are sent in all, the same each time. Fails where an answer is a 5xx, the connection ends without one where HTTP was
spoken, or the server's memory grows by more than GROWTH_MIB from the first quarter to the end.
"""

import collections
import http.client
import io
import json
import pathlib
import random
import re
import socket
import struct
import sys
import urllib.parse

GROWTH_MIB = 20
CHUNK = 200  # inputs of a kind in a row
INFER = "/v2/models/digits/infer"
PREDICT = "/api/v1/models/digits/predict"
INTERESTING = [b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\r\n", b"\n\n", b"%00", b"\xc0\xaf", b"{}", b"[[", b'"', b"-1",
               b"1e999", b"--", b"A" * 4096]


def mutate(generator, content):
    """One to eight small damages; now and then what is left is cut short."""
    content = bytearray(content)
    for _ in range(generator.randint(1, 8)):
        at = generator.randrange(len(content) + 1)
        match generator.randrange(6):
            case 0 if content:
                content[at % len(content)] ^= 1 << generator.randrange(8)
            case 1:
                content[at:at] = generator.choice(INTERESTING)
            case 2:
                del content[at:at + generator.randint(1, 64)]
            case 3:
                content[at:at + 4] = struct.pack("<I", generator.getrandbits(32))
            case 4:
                piece = content[at:at + generator.randint(1, 256)]
                content[at:at] = piece
            case _:
                content[at:at + 1] = bytes([generator.randrange(256)])
    return bytes(content[:generator.randrange(len(content) + 1)] if generator.random() < 0.1 else content)


def tensors():
    raw = struct.pack("<64f", *[8.0] * 64)
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32"}
    binary = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}],
                         "outputs": [{"name": "probabilities", "parameters": {"binary_data": True, "classification": 2}}]}).encode()
    text = json.dumps({"id": "1", "inputs": [{**tensor, "data": [8.0] * 64}], "parameters": {"priority": 2, "timeout": 1000000}}).encode()
    return [(binary + raw, {"Inference-Header-Content-Length": str(len(binary))}), (text, {"Content-Type": "application/json"})]


class Fuzzer:
    def __init__(self, url, token, samples):
        self.address = urllib.parse.urlsplit(url)
        self.token = token
        self.pictures = [path.read_bytes() for path in sorted(pathlib.Path(samples).iterdir())
                         if path.suffix in (".bmp", ".gif", ".jpg", ".png", ".webp")]
        self.generator = random.Random(20)
        self.connection = None
        self.kinds = {"pictures": self.picture, "tensors": self.tensor, "forms": self.form, "headers": self.header}

    def picture(self):
        content = mutate(self.generator, self.generator.choice(self.pictures))
        media = self.generator.choice(["image/png", "image/jpeg", "application/octet-stream", "image/webp"])
        return self.post(PREDICT, content, {"Content-Type": media})

    def tensor(self):
        body, headers = self.generator.choice(tensors())
        return self.post(INFER, mutate(self.generator, body), headers)

    def form(self):
        head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        body = (head + self.generator.choice(self.pictures) + b"\r\n") * self.generator.randint(1, 3) + b"--edge--\r\n"
        return self.post(PREDICT, mutate(self.generator, body), {"Content-Type": "multipart/form-data; boundary=edge"})

    def header(self):
        """A whole head, over a connection of its own; what is no HTTP may be answered with the end of it."""
        body = tensors()[1][0]
        lines = [f"POST {INFER} HTTP/1.1", f"Host: {self.address.netloc}", f"Authorization: Bearer {self.token}", "Accept: */*",
                 "Content-Type: application/json", f"Content-Length: {len(body)}", "X-Request-Id: 1", "Connection: close"]
        head = mutate(self.generator, "\r\n".join(lines).encode())
        with socket.create_connection((self.address.hostname, self.address.port), 10) as stream:
            try:
                stream.sendall(head + b"\r\n\r\n" + body)
                stream.shutdown(socket.SHUT_WR)
                answer = stream.recv(64)
            except OSError:
                return "ended"
        found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
        return int(found[1]) if found else "ended"

    def post(self, path, body, headers):
        for attempt in range(2):
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=30)
                self.connection.request("POST", path, body, {**headers, "Authorization": f"Bearer {self.token}"})
                answer = self.connection.getresponse()
                answer.read()
                if answer.getheader("Connection") == "close":
                    self.close()
                return answer.status
            except (OSError, http.client.HTTPException):
                # A connection that was kept may have ended; one that is new may not.
                self.close()
                if attempt:
                    return "no answer"

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


def resident_mib(process):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{process}/status").read_text())[1]) / 1024


def is_wrong(kind, answer):
    return answer == "no answer" or (isinstance(answer, int) and answer >= 500)


def main():
    url, process, token, samples, page = sys.argv[1:6]
    inputs = int(sys.argv[6])
    fuzzer = Fuzzer(url, token, samples)
    seen = {kind: collections.Counter() for kind in fuzzer.kinds}
    rounds, settled = max(1, inputs // (CHUNK * len(seen))), None
    for number in range(rounds):
        if number >= rounds // 4 and settled is None:
            settled = resident_mib(process)
        for kind, send in fuzzer.kinds.items():
            seen[kind].update(send() for _ in range(CHUNK))
        if number % 25 == 0:
            print(f"{number * CHUNK * len(seen)} of {inputs}, {resident_mib(process):.0f} MiB", flush=True)
    after = resident_mib(process)
    report = io.StringIO()
    print("# Fuzzing\n\nMade by `scripts/prove fuzz`: pictures, tensors (JSON and binary), forms and heads of requests, each with one "
          "to eight damages, sent to the real server. *ended*: a head that is no HTTP, answered with the end of the connection; 499 "
          "after a head: the sender closed its side and counts as gone.\n\n"
          "| kind | inputs | answers |\n|---|---|---|", file=report)
    for kind, answers in seen.items():
        listed = ", ".join(f"{answer}: {count}" for answer, count in sorted(answers.items(), key=lambda each: str(each[0])))
        print(f"| {kind} | {sum(answers.values())} | {listed} |", file=report)
    print(f"\nResident memory: {settled:.0f} MiB after a quarter of them, {after:.0f} MiB after all (at most {GROWTH_MIB} MiB more).", file=report)
    pathlib.Path(page).write_text(report.getvalue())
    print(report.getvalue())
    wrong = {answer for kind, answers in seen.items() for answer in answers if is_wrong(kind, answer)}
    if wrong or after - settled > GROWTH_MIB:
        sys.exit(f"mutate.py: answers {wrong or 'fine'}, memory grew by {after - settled:.0f} MiB")


main()
