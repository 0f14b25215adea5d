"""A server that is killed under load, again and again: what it answered holds after each next start.

    python3 -m measuring.kills [KILLS]    on both pairs; 50 kills if it is not said

Fails where an answered change is gone or undone, a quota lets through more than it allows, more than LOST_MS of usage is lost, the
audit trail does not verify or the server does not start by itself. Only the server is killed; Postgres and Redis stay.
"""

import http.client
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from .server import BINARY, ROOT, Server, stores_of
from .tiny import json_request

KILLS = 50
LIFE_SECONDS = (1.2, 3.0)  # before each kill, by chance; usage is written once a second
QUOTA_PER_LIFE = 200  # rows that the capped person may infer more with each life: fewer than are asked for
LOST_MS = 1500  # a second, and the time of a write
INFER = "/v2/models/digits/infer"
PICTURE = (ROOT / "models/digits/samples/7-1.png").read_bytes()
PASSWORD = "Correct-horse-9"
ROOMY = {"MAX_API_KEYS_PER_ACCOUNT": "10000", "MAX_FILES_PER_ACCOUNT": "10000", "MAX_SESSIONS_PER_ACCOUNT": "1000"}


class Unkept(Exception):
    """Something that was answered does not hold."""


class Person:
    """Someone with an account: what was asked for, and which of it was answered."""

    def __init__(self, server, name):
        self.login = {"email": f"{name}@example.com", "password": PASSWORD}
        self.account = server.post_json("/api/v1/auth/register", {**self.login, "name": "Person"})["id"]
        self.log_in(server)
        self.key = self.make_key(server)["key"]
        self.answered = []  # when, for each inference
        self.lost = 0
        self.keys = {}  # text → whether it lives; None while the answer to a change is waited for
        self.ids = {}  # text of a key → its id
        self.files = {}  # id → whether it is stored, None as above
        self.checked = 0

    def log_in(self, server):
        answer = server.post_json("/api/v1/auth/login", self.login)
        self.token = {"Authorization": f"Bearer {answer['access_token']}"}
        self.refresh_token = answer["refresh_token"]

    def make_key(self, server, connection=None):
        body = json.dumps({"name": "kills", "scopes": ["models:infer"]})
        status, answer = server.call("POST", "/api/v1/api-keys", body, {**self.token, "Content-Type": "application/json"}, connection)
        expect(status, 201, "a new key", answer)
        return json.loads(answer)

    def infer(self, server, connection):
        body, media = json_request()
        status, answer = server.call("POST", INFER, body, {"X-API-Key": self.key, **media}, connection)
        if status == 200:
            self.answered.append(time.monotonic())
        elif status == 429 and b"quota" in answer:
            time.sleep(0.01)
        else:
            raise Unkept(f"an inference was answered {status}: {answer[:200]!r}")

    def change_key(self, server, connection):
        """Makes a key and ends the one before."""
        made = self.make_key(server, connection)
        before = [text for text, lives in self.keys.items() if lives]
        self.keys[made["key"]] = True
        self.ids[made["key"]] = made["id"]
        for text in before:
            self.keys[text] = None
            status, answer = server.call("DELETE", f"/api/v1/api-keys/{self.ids[text]}", None, self.token, connection)
            expect(status, 204, "ending a key", answer)
            self.keys[text] = False

    def change_file(self, server, connection):
        """Stores a file and deletes the one before."""
        headers = {**self.token, "Content-Type": "image/png"}
        status, answer = server.call("POST", "/api/v1/files?name=seven.png", PICTURE, headers, connection)
        expect(status, 201, "a new file", answer)
        before = [file for file, lives in self.files.items() if lives]
        self.files[json.loads(answer)["id"]] = True
        for file in before:
            self.files[file] = None
            status, answer = server.call("DELETE", f"/api/v1/files/{file}", None, self.token, connection)
            expect(status, 204, "deleting a file", answer)
            self.files[file] = False

    def change_session(self, server, connection):
        """Takes the next refresh token."""
        token, self.refresh_token = self.refresh_token, None
        body = json.dumps({"refresh_token": token})
        status, answer = server.call("POST", "/api/v1/auth/refresh", body, {"Content-Type": "application/json"}, connection)
        expect(status, 200, "refreshing", answer)
        self.refresh_token = json.loads(answer)["refresh_token"]
        self.token = {"Authorization": f"Bearer {json.loads(answer)['access_token']}"}

    def check(self, server):
        """Whether everything that was answered holds."""
        body, media = json_request()
        for text, lives in [(text, lives) for text, lives in self.keys.items() if lives is not None][-10:]:
            status, answer = server.call("POST", INFER, body, {"X-API-Key": text, **media})
            expect(status, 200 if lives else 401, "a key that " + ("was made" if lives else "was ended"), answer)
            if lives:
                self.answered.append(time.monotonic())
            self.checked += 1
        if self.refresh_token:
            self.change_session(server, None)
            self.checked += 1
        else:
            self.log_in(server)  # nobody knows whether the last refresh came through
        for file, lives in [(file, lives) for file, lives in self.files.items() if lives is not None][-10:]:
            status, answer = server.call("GET", f"/api/v1/files/{file}", None, self.token)
            expect(status, 200 if lives else 404, "a file that " + ("was stored" if lives else "was deleted"), answer[:200])
            self.checked += 1

    def written(self, server):
        status, answer = server.call("GET", "/api/v1/me/usage", None, self.token)
        expect(status, 200, "usage", answer)
        return sum(item["inferences"] for item in json.loads(answer)["items"])


def expect(status, expected, what, answer):
    if status != expected:
        raise Unkept(f"{what}: {status} instead of {expected}: {answer[:200]!r}")


def live(server, jobs, seconds):
    """Everything at once until the server is killed; raises what was answered otherwise than it should."""
    wrong = []

    def work(job):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            while True:
                job(server, connection)
        except Unkept as error:
            wrong.append(error)
        except (OSError, http.client.HTTPException):
            pass  # killed

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    killed = time.monotonic()
    server.process.kill()
    server.process.wait()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]
    return killed


def kill_often(pair, kills):
    chance, starts, longest = random.Random(20), [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        stores = {**stores_of(pair), **ROOMY}
        with Server(folder, stores) as server:
            admin = administrator(server)
            busy, capped = Person(server, "busy"), Person(server, "capped")
        cap = 0
        for _ in range(kills):
            server = Server(folder, stores)
            cap += QUOTA_PER_LIFE
            set_cap(server, admin, capped, cap)
            jobs = [busy.infer, busy.infer, capped.infer, busy.change_key, busy.change_file, busy.change_session]
            killed = live(server, jobs, chance.uniform(*LIFE_SECONDS))
            with Server(folder, stores) as server:
                starts.append(server.start_ms)
                longest = max(longest, unwritten(busy, busy.written(server), killed))
                busy.check(server)
                if len(capped.answered) > cap:
                    raise Unkept(f"{len(capped.answered)} rows were inferred of a quota of {cap}")
                verify(server)
        return {"kills": kills, "start": statistics.median(starts), "longest start": max(starts),
                "answered": len(busy.answered), "lost": busy.lost, "longest": longest * 1000,
                "cap": cap, "capped": len(capped.answered), "checked": busy.checked, "left": left_behind(folder)}


def administrator(server):
    login = {"email": "admin@example.com"}
    made = subprocess.run([BINARY, "admin", "create", "--email", login["email"], "--generate"], env=server.environment, check=True,
                          capture_output=True, text=True)
    return {**login, "password": made.stdout.strip()}


def set_cap(server, admin, person, cap):
    token = server.post_json("/api/v1/auth/login", admin)["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    path = f"/api/v1/admin/quotas/account/{person.account}/inferences/day"
    expect(server.call("PUT", path, json.dumps({"limit": cap}), headers)[0], 204, "a quota", b"")


def unwritten(person, written, killed):
    """How long before the kill the first inference was answered that the ledger does not have, in seconds."""
    lost = max(len(person.answered) - person.lost - written, 0)
    if lost == 0:
        return 0.0
    person.lost += lost
    return max(killed - person.answered[-lost], 0.0)


def verify(server):
    verified = subprocess.run([BINARY, "audit", "verify"], env=server.environment, capture_output=True, text=True)
    if verified.returncode != 0:
        raise Unkept(f"the audit trail does not verify: {verified.stdout[-500:]}{verified.stderr[-500:]}")


def left_behind(folder):
    return sum(1 for file in (pathlib.Path(folder) / "files/quarantine").glob("*") if file.is_file())


def report(results):
    lines = ["| | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    rows = [("kills", "{kills}"), ("start after a kill, ms: median, longest", "{start:.0f}, {longest start:.0f}"),
            ("keys, files and sessions looked at: as answered", "{checked}"), ("audit trail verified", "{kills} times"),
            ("inferences answered", "{answered}"), ("… not in the ledger", "{lost}"),
            (f"… answered at most so long before the kill, ms (≤ {LOST_MS})", "{longest:.0f}"),
            ("rows inferred of a quota of", "{capped} of {cap}"), ("files left in quarantine at the end", "{left}")]
    for name, form in rows:
        lines.append(f"| {name} | " + " | ".join(form.format(**result) for result in results.values()) + " |")
    return "\n".join(lines)


def main(kills=KILLS):
    results = {pair: kill_often(pair, int(kills)) for pair in ("embedded", "shared")}
    print(report(results))
    late = [pair for pair, result in results.items() if result["longest"] > LOST_MS]
    if late:
        sys.exit(f"kills: more usage was lost than may be: {late}")


if __name__ == "__main__":
    main(*sys.argv[1:])
