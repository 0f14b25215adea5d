"""How soon what one replica ends is refused by another, with Redis and without."""

import base64
import os
import socket
import subprocess
import tempfile
import time

from .server import Server, database_of

ROUNDS = 20
MAX_SECONDS = 1.0
GIVE_UP_SECONDS = 10
PASSWORD = "Correct-horse-9"


class Redis:
    """A Redis of its own, which can be stopped."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}"

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)


def measure_revocation():
    """Milliseconds from the answer of the one to the first refusal of the other."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        redis = Redis(first)
        try:
            # Of one installation: each would make keys of its own.
            keys = {name: base64.b64encode(os.urandom(32)).decode() for name in ["ENCRYPTION_KEY", "AUDIT_KEY"]}
            stores = {"DATABASE_URL": database_of(), "REDIS_URL": redis.url, **keys}
            with Server(first, stores) as here:
                with Server(second, stores) as there:
                    figures = {"with Redis": rounds(here, there, "up")}
                    redis.stop()
                    figures["Redis gone"] = rounds(here, there, "down")
        finally:
            redis.stop()
        return figures


def rounds(here, there, name):
    times = []
    for number in range(ROUNDS):
        person = {"email": f"{name}{number}@example.com", "password": PASSWORD}
        here.post_json("/api/v1/auth/register", {**person, "name": "Bench"})
        token = {"Authorization": "Bearer " + here.post_json("/api/v1/auth/login", person)["access_token"]}
        assert there.get("/api/v1/me", token)[0] == 200
        assert here.call("POST", "/api/v1/auth/logout", b"", token)[0] == 204
        ended = time.perf_counter()
        while there.get("/api/v1/me", token)[0] != 401:
            if time.perf_counter() - ended > GIVE_UP_SECONDS:
                raise SystemExit("bench: a session that was ended is still taken by the other replica")
            time.sleep(0.002)
        times.append((time.perf_counter() - ended) * 1000)
    times.sort()
    return {"median": times[len(times) // 2], "longest": times[-1]}


def report_revocation(figures):
    lines = [f"| a logout, {ROUNDS} times | median ms | longest ms | wanted |", "|---|---|---|---|"]
    for name, row in figures.items():
        wanted = "the very next request" if name == "with Redis" else f"≤ {MAX_SECONDS * 1000:.0f} ms"
        lines.append(f"| {name} | {row['median']:.1f} | {row['longest']:.1f} | {wanted} |")
    return "\n".join(lines)


def missed_revocation(figures):
    for name, row in figures.items():
        if row["longest"] > MAX_SECONDS * 1000:
            yield f"{name}: {row['longest']:.0f} ms"
