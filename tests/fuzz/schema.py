"""schemathesis over the OpenAPI document, as each role.

    schema.py PROGRAM URL ADMIN_TOKEN DOCUMENT PAGE [EXAMPLES]

Each role has an account of its own, and every check of schemathesis is on. Fails where one of them does; the table goes to PAGE.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

ROLES = ["nobody", "readonly", "user", "moderator", "admin"]
PASSWORD = "Correct-horse-9"
# What would end the caller's own session or shut out whoever tests, or take away the model that other calls need: the suite
# has tests of their own for these.
LEFT_OUT = ["/auth/logout", "/auth/logout-all", "/auth/password", "/me", "/admin/maintenance", "/admin/ip-rules", "/admin/limits",
            "/unload", "/load", "/activate", "/rollback", "/versions/{version}"]
# A schema cannot say everything: a time must be in the future, a cursor be one of ours, a digest be the file's. 400 is the
# answer to what fits the schema and is wrong; 503 is documented for a model that is not ready.
CONFIGURATION = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 413, 415, 429, 503]
"""
SUMMARY = re.compile(r"(\d+) generated, (.*)")


def call(url, method, path, value=None, token=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    body = json.dumps(value).encode() if value is not None else None
    with urllib.request.urlopen(urllib.request.Request(url + path, body, headers, method=method)) as answer:
        return json.loads(answer.read() or b"null")


def token_of(url, admin, role):
    person = {"email": f"{role}-{os.getpid()}@example.com", "password": PASSWORD}
    account = call(url, "POST", "/api/v1/auth/register", {**person, "name": role})
    if role != "user":
        call(url, "PUT", f"/api/v1/admin/users/{account['id']}", {"role": role}, admin)
    return call(url, "POST", "/api/v1/auth/login", person)["access_token"]


def run(program, url, document, token, examples):
    left_out = "|".join(re.escape(end) + "$" for end in LEFT_OUT)
    with tempfile.TemporaryDirectory() as folder:
        configuration = pathlib.Path(folder, "schemathesis.toml")
        configuration.write_text(CONFIGURATION)
        command = [program, "--config-file", configuration, "run", document, "--url", url, "--workers", "1", "--checks", "all",
                   "--max-examples", str(examples), "--seed", "1", "--continue-on-failure", "--suppress-health-check", "all",
                   "--warnings", "off", "--generation-with-security-parameters", "false", "--generation-database", "none",
                   "--exclude-path-regex", left_out, *(["--header", f"Authorization: Bearer {token}"] if token else [])]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)  # it leaves its notes there
    return done.returncode, done.stdout + done.stderr


def main():
    program, url, admin, document, page = sys.argv[1:6]
    examples = int(sys.argv[6]) if len(sys.argv) > 6 else 30
    rows, failed = [], []
    for role in ROLES:
        token = None if role == "nobody" else token_of(url, admin, role)
        status, output = run(program, url, document, token, examples)
        found = SUMMARY.search(output)
        rows.append(f"| {role} | {found[1] if found else '–'} | {'all passed' if status == 0 else 'failed'} |")
        print(rows[-1], flush=True)
        if status:
            print(output[-6000:], flush=True)
            failed.append(role)
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()[-1]
    pathlib.Path(page).write_text("\n".join([
        "# Conformance to the OpenAPI document", "",
        f"Made by `scripts/prove schema`: schemathesis {version} with every check, {examples} examples for each operation and phase, "
        "against the real server, as each role. No answer may be a 5xx or other than documented. Left out are the routes that end "
        f"the caller's session, close the service or take the model away: {', '.join(f'`…{end}`' for end in LEFT_OUT)}.", "",
        "| role | cases | result |", "|---|---|---|", *rows]) + "\n")
    sys.exit(f"schema.py: failed as {', '.join(failed)}" if failed else 0)


main()
