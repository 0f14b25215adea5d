"""A server of the release build, on a free port of 127.0.0.1, and the stores it works on."""

import http.client
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
BINARY = pathlib.Path(os.environ.get("MODELGATE_BINARY", BUILD / "modelgate"))
METRICS_TOKEN = "bench-" + "m" * 40
HIGH_QUOTA = 10**12
PERSON = {"email": "bench@example.com", "password": "Correct-horse-9"}


class Server:
    """A server of its own, on a free port, with every limit set high and none off."""

    def __init__(self, folder, stores, models=ROOT / "models", core=None, binary=BINARY):
        limits = {name: "1000000000" for name in LIMITS}
        self.environment = {
            "PATH": os.environ["PATH"], "APP_ENV": "development", "PORT": "0", "DATA_DIR": folder,
            "MODEL_DIR": str(models), "LOG_LEVEL": "info", "METRICS_TOKEN": METRICS_TOKEN,
            "ORT_DYLIB_PATH": os.environ.get("ORT_DYLIB_PATH", str(ROOT / ".onnxruntime/libonnxruntime.so")),
            **limits, **stores,
        }
        self.log = open(pathlib.Path(folder) / "log", "w+")
        begun = time.perf_counter()
        command = [*(["taskset", "--cpu-list", str(core)] if core is not None else []), binary, "serve"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=self.log)
        self.port = self._wait_for_port()
        while self.get("/health/ready")[0] != 200:
            time.sleep(0.001)
        self.start_ms = (time.perf_counter() - begun) * 1000

    def _wait_for_port(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = re.search(r'"address":"127\.0\.0\.1:(\d+)"', pathlib.Path(self.log.name).read_text())
            if found:
                return int(found.group(1))
            if self.process.poll() is not None:
                raise SystemExit("bench: the server did not start")
            time.sleep(0.001)
        raise SystemExit("bench: the server did not start in 30 s")

    def call(self, method, path, body=None, headers=None, connection=None):
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def get(self, path, headers=None):
        return self.call("GET", path, None, headers)

    def post_json(self, path, value, headers=None):
        status, body = self.call("POST", path, json.dumps(value), {"Content-Type": "application/json", **(headers or {})})
        assert status < 300, (path, status, body)
        return json.loads(body)

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def credentials(self):
        """The headers of a token and of a key of one person, and what logs that person in."""
        self.post_json("/api/v1/auth/register", {**PERSON, "name": "Bench"})
        token = {"Authorization": "Bearer " + self.post_json("/api/v1/auth/login", PERSON)["access_token"]}
        key = self.post_json("/api/v1/api-keys", {"name": "bench", "scopes": ["models:infer"]}, token)["key"]
        return {"token": token, "key": {"X-API-Key": key}}

    def set_quotas(self):
        """A day's and a month's quota for everyone, high enough to be never reached."""
        person = {"email": "bench-admin@example.com"}
        made = subprocess.run([BINARY, "admin", "create", "--email", person["email"], "--generate"], env=self.environment,
                              check=True, capture_output=True, text=True)
        person["password"] = made.stdout.strip()
        admin = {"Authorization": "Bearer " + self.post_json("/api/v1/auth/login", person)["access_token"]}
        for unit, period in [("inferences", "day"), ("requests", "month")]:
            path = f"/api/v1/admin/quotas/role/user/{unit}/{period}"
            headers = {**admin, "Content-Type": "application/json"}
            assert self.call("PUT", path, json.dumps({"limit": HIGH_QUOTA}), headers)[0] == 204

    def counters(self):
        text = self.get("/metrics", {"Authorization": f"Bearer {METRICS_TOKEN}"})[1].decode()
        read = lambda name: int(float(re.search(rf"^{name} (\S+)$", text, re.M).group(1)))
        return read("storage_queries_total"), read("ephemeral_round_trips_total")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing that was started stays behind, whatever happened."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()


# Of Redis, a database for each server.
NUMBERS = itertools.count(os.getpid())
LIMITS = ["RATE_LIMIT_PER_MINUTE", "RATE_LIMIT_INFER_PER_MINUTE", "RATE_LIMIT_READ_PER_MINUTE", "RATE_LIMIT_PER_HOUR",
          "RATE_LIMIT_LOGIN_PER_MINUTE", "RATE_LIMIT_REGISTER_PER_MINUTE", "GUARD_PER_SECOND"]


def stores_of(pair):
    """The settings of a pair; the shared one on a database and a Redis number of its own."""
    if pair == "embedded":
        return {}
    return {"DATABASE_URL": database_of(), "REDIS_URL": f"{throwaway('TEST_REDIS_URL')}/{next(NUMBERS) % 4000 + 1}"}


def database_of():
    """The address of a new, empty database."""
    database = throwaway("TEST_DATABASE_URL")
    name = f"bench_{os.getpid()}_{time.monotonic_ns()}"
    subprocess.run(["psql", "-q", database, "-c", f"CREATE DATABASE {name}"], check=True)
    return urllib.parse.urlsplit(database)._replace(path="/" + name).geturl()


def throwaway(variable):
    if variable not in os.environ:
        raise SystemExit("bench: this needs throwaway stores: scripts/services run -- scripts/bench …")
    return os.environ[variable]
