"""A server at work for a while, with all that callers do well and badly at once: its memory, its open files and its threads stay flat.

    python3 -m measuring.soak [MINUTES]    on both pairs; ten minutes each if it is not said

Fails where memory grows by more than GROWTH_MIB from the first half to the second, where files or threads are left open, and where
an answer is a 5xx.
"""

import collections
import contextlib
import http.client
import json
import pathlib
import random
import shutil
import socket
import sys
import tempfile
import threading
import time

from .kills import INFER, PICTURE, Person, Unkept, administrator
from .server import ROOT, Server, stores_of
from .tiny import binary_request, json_request

MINUTES = 10
ROWS = 10  # of the table, for each pair
GROWTH_MIB = 20
SETTLED_SECONDS = 8  # of quiet, for connections and streams that nobody listens to any more
PEOPLE = 20
SETTINGS = {"MAX_API_KEYS_PER_ACCOUNT": "10000", "MAX_FILES_PER_ACCOUNT": "10000"}


class Soak:
    """What goes on at once, each on a connection of its own, and what it was answered."""

    def __init__(self, server):
        self.server, self.answers, self.stop = server, collections.Counter(), threading.Event()
        self.wrong = []
        self.people = [Person(server, f"person{number}") for number in range(PEOPLE)]
        self.admin = administrator(server)
        self.admin_token = self.admin_in()

    def admin_in(self):
        return {"Authorization": "Bearer " + self.server.post_json("/api/v1/auth/login", self.admin)["access_token"]}

    def ask(self, connection, method, path, body=None, headers=None):
        status, _ = self.server.call(method, path, body, headers, connection)
        self.answers[status] += 1
        return status

    def tensors(self, connection, person):
        for body, media in (json_request(), binary_request()):
            self.ask(connection, "POST", INFER, body, {"X-API-Key": person.key, **media})

    def pictures(self, connection, person):
        self.ask(connection, "POST", "/api/v1/models/digits/predict", PICTURE, {**person.token, "Content-Type": "image/png"})

    def own_things(self, connection, person):
        person.change_key(self.server, connection)
        person.change_file(self.server, connection)
        person.change_session(self.server, connection)
        for path in ("me", "me/usage", "files", "api-keys"):
            self.ask(connection, "GET", f"/api/v1/{path}", None, person.token)

    def administration(self, connection, _):
        self.admin_token = self.admin_in()
        for path in ("users", "audit", "usage", "incidents", "quotas"):
            self.ask(connection, "GET", f"/api/v1/admin/{path}", None, self.admin_token)
        for change in ("unload", "load"):
            self.ask(connection, "POST", "/api/v1/admin/models/other/" + change, None, self.admin_token)
        time.sleep(0.5)

    def mistakes(self, connection, person):
        self.ask(connection, "POST", INFER, b"{", {**person.token, "Content-Type": "application/json"})
        self.ask(connection, "POST", INFER, b"", {"X-API-Key": "mg_live_" + "x" * 40, "Content-Type": "application/json"})
        self.ask(connection, "GET", f"/nowhere/{random.randrange(10**9)}?q=../../etc/passwd", None, person.token)
        self.ask(connection, "POST", "/api/v1/auth/login", json.dumps({**person.login, "password": "Wrong-horse-9"}),
                 {"Content-Type": "application/json"})
        time.sleep(0.1)

    def departures(self, _, person):
        """Those who go away: in the middle of a head, of a body, of an answer, of a stream of events."""
        head = f"POST {INFER} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {person.key}\r\nContent-Type: application/json\r\n"
        stream = f"GET /api/v1/admin/audit/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {self.admin_token['Authorization']}\r\n\r\n"
        for sent in (head, head + "Content-Length: 900000\r\n\r\n{", stream):
            with contextlib.closing(socket.create_connection(("127.0.0.1", self.server.port), 10)) as connection:
                connection.sendall(sent.encode())
                time.sleep(0.05)

    def work(self, job, number):
        """Again and again, fifty times on each connection."""
        try:
            while not self.stop.is_set():
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)) as connection:
                    for _ in range(50):
                        if not self.stop.is_set():
                            job(connection, self.people[number])
        except (Unkept, OSError, http.client.HTTPException) as error:
            self.wrong.append(f"{job.__name__}: {error!r}")

    def run(self, minutes):
        jobs = [self.tensors] * 4 + [self.pictures] * 2 + [self.own_things] * 2 + [self.administration, self.mistakes, self.departures]
        threads = [threading.Thread(target=self.work, args=(job, number)) for number, job in enumerate(jobs)]
        for thread in threads:
            thread.start()
        samples = []
        for _ in range(ROWS):
            time.sleep(minutes * 60 / ROWS)
            samples.append({**held(self.server), "answers": sum(self.answers.values())})
        self.stop.set()
        for thread in threads:
            thread.join()
        return samples


def held(server):
    process = pathlib.Path(f"/proc/{server.process.pid}")
    return {"MiB": server.resident_mib(), "files": len(list((process / "fd").iterdir())), "threads": len(list((process / "task").iterdir()))}


def soak(pair, minutes):
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder) / "models"
        for name in ("digits", "other"):
            shutil.copytree(ROOT / "models/digits", models / name)
        with Server(folder, {**stores_of(pair), **SETTINGS}, models) as server:
            working = Soak(server)
            samples = working.run(minutes)
            time.sleep(SETTLED_SECONDS)
            return {"minutes": minutes, "samples": [*samples, held(server)], "answers": working.answers, "wrong": working.wrong}


def report(pair, result):
    lines = [f"| {pair}, after minutes | answers | memory MiB | open files | threads |", "|---|---|---|---|---|"]
    for number, sample in enumerate(result["samples"][:-1], 1):
        lines.append(f"| {result['minutes'] * number / ROWS:g} | {sample['answers']} | {sample['MiB']:.1f} | {sample['files']} | {sample['threads']} |")
    last = result["samples"][-1]
    lines.append(f"| and {SETTLED_SECONDS} s of quiet | | {last['MiB']:.1f} | {last['files']} | {last['threads']} |")
    told = ", ".join(f"{status}: {count}" for status, count in sorted(result["answers"].items()))
    return "\n".join([*lines, "", f"Answers besides those to changes of one's own keys, files and sessions, of which none failed: {told}."])


def missed(result):
    """What a half of the time holds at its lowest and at its highest: a single look finds now a picture in memory, now none."""
    first, second = result["samples"][: ROWS // 2], result["samples"][ROWS // 2 : ROWS]
    quiet = result["samples"][ROWS]
    low, later = (min(sample["MiB"] for sample in half) for half in (first, second))
    if later > low + GROWTH_MIB:
        yield f"memory grew from {low:.1f} to {later:.1f} MiB"
    for what in ("files", "threads"):
        most = max(sample[what] for sample in first)
        if quiet[what] > most:
            yield f"{quiet[what]} {what} in quiet, {most} in the first half at most"
    yield from result["wrong"]
    if faults := {status: count for status, count in result["answers"].items() if status >= 500}:
        yield f"answered {faults}"


def main(minutes=MINUTES):
    results = {pair: soak(pair, float(minutes)) for pair in ("embedded", "shared")}
    print("\n\n".join(report(pair, result) for pair, result in results.items()))
    if wrong := [f"{pair}: {what}" for pair, result in results.items() for what in missed(result)]:
        sys.exit("soak: " + "; ".join(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
