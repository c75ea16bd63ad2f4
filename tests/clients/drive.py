#!/usr/bin/env python3
"""Drives the gateway as another team's service would: with a client that is generated from proto/, by the very code of
docs/quickstart-python.md.

Runs a small demo in a directory of its own, then: whom the token stands for, submit under a key, the same key again and for
another sync, watch, a cut in the middle and going on behind it, lists by pages, errors with code, remedy and fields, REST
and its description. Everything started is stopped. Exit code 0: all of it holds.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO_SECONDS = 300
REQUEST_SECONDS = 60


class Cut:
    """A way to the gateway that can be cut: what is open breaks, what comes later passes."""

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(self.target)
            self.open.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        for pair in self.open:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self.open.clear()


def expect(holds, what):
    print(f"{'ok    ' if holds else 'FAILED'}  {what}", flush=True)
    if not holds:
        sys.exit(1)


def generate(into):
    """The client, as the quickstart says."""
    protos = sorted(str(p) for p in (ROOT / "proto").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"), f"--python_out={into}", f"--grpc_python_out={into}"]
    subprocess.run([*command, *protos], check=True)
    sys.path.insert(0, into)


def quickstart():
    """Everything that the page defines."""
    page = (ROOT / "docs" / "quickstart-python.md").read_text()
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        exec(compile(code, "docs/quickstart-python.md", "exec"), names)  # noqa: S102: our own page
    return names


def rest(path, verb="GET", body=None, token=True, kind="application/json"):
    headers = {"content-type": kind} if body is not None else {}
    if token:
        headers["authorization"] = f"Bearer {os.environ['SYNCLINE_GATEWAY_TOKEN']}"
    url = os.environ["GATEWAY_DIRECT"] + path
    request = urllib.request.Request(url, method=verb, headers=headers, data=body)
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def drive(cut):
    client = quickstart()
    error = client["SynclineError"]
    submit, watch, report = client["submit"], client["watch"], client["report"]

    def refused(*arguments, by=submit):
        try:
            by(*arguments)
        except error as refusal:
            return refusal
        return None

    unknown = refused("no-such-sync", "k-0")
    expect(unknown and unknown.reason == "SCHEMA_SYNC_002" and unknown.remedy, f"an unknown sync is an error with code and remedy: {unknown}")
    long_key = refused("refresh", "k" * 300)
    expect(long_key and "idempotency_key" in long_key.fields, "a field that is at fault is named")

    key = f"client-{time.time_ns()}"
    run = submit("refresh", key)
    expect(submit("refresh", key).id == run.id, "the same key gives the same run")
    twice = refused("refresh-again", key)
    expect(twice and twice.reason == "REQUEST_IDEMPOTENCY_001", "the same key for another sync is an error")

    seen, cuts = [], 0
    for snapshot in watch(run.id):
        seen.append(snapshot.cursor)
        if cuts < 2 and snapshot.status not in ("completed", "completed_with_errors"):
            cuts += 1
            cut.cut()
        last = snapshot
    expect(cuts > 0, f"the connection was cut {cuts} times while the run was watched")
    expect(seen == sorted(set(seen)), f"each of {len(seen)} snapshots came once and in order")
    expect(last.status == "completed", f"the run ended as {last.status}")

    done = report(run.id)
    expect(done.objects and all(o.balanced for o in done.objects), "the report balances")
    expect(sum(o.unchanged for o in done.objects) > 0, "a second run leaves what did not change")
    listed = [r.id for r in client["all_runs"]("refresh")]
    expect(run.id in listed and len(listed) == len(set(listed)), "the run is in the list, once")

    code, text = rest("/v1/runs?page_size=1")
    page = json.loads(text)
    expect(code == 200 and len(page["runs"]) == 1 and page["nextPageToken"], "REST gives the same list, by pages")
    code, text = rest(f"/v1/runs?page_size=1&page_token={page['nextPageToken']}")
    expect(code == 200 and json.loads(text)["runs"][0]["id"] != page["runs"][0]["id"], "the next page goes on behind it")
    code, text = rest(f"/v1/runs/{run.id}/report")
    expect(code == 200 and json.loads(text)["report"]["status"] == "completed", "REST gives the report")
    code, text = rest(f"/v1/runs/{run.id}:watch")
    expect(code == 200 and "id: " in text and text.rstrip().endswith("event: end\ndata: {}"), "REST gives the run as events, to their end")
    code, text = rest("/v1/runs", "POST", b'{"sync": "refresh", "unknown": 1}')
    expect(code == 400 and "unknown" in text, "REST refuses an unknown field by name")
    code, text = rest("/v1/runs", token=False)
    expect(code == 401 and "AUTH_TOKEN_001" in text, "REST refuses who shows no token")
    code, text = rest("/openapi.json", token=False)
    from openapi_spec_validator import validate

    validate(json.loads(text))
    expect(code == 200, "the description is valid OpenAPI")


def demo(home):
    shutil.copytree(ROOT / "deploy", home / "deploy")
    given = {name: value for name, value in os.environ.items() if name not in ("SYNCLINE_NATS_URL", "SYNCLINE_DATABASE_URL")}
    given["SYNCLINE_DEMO_SCALE"] = "2000"
    with (home / "demo.log").open("w+") as log:
        done = subprocess.run(["deploy/local/demo.sh"], cwd=home, env=given, stdout=log, stderr=log, timeout=DEMO_SECONDS, check=False)
        if done.returncode != 0:
            log.seek(0)
            sys.exit("".join(log.readlines()[-30:]) + "the demo did not run")
    lines = (home / ".local" / "demo.env").read_text().splitlines()
    return {name: value.strip("'") for name, value in (line.split("=", 1) for line in lines)}


def main():
    local = ROOT / ".local"
    local.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="clients.", dir=local))
    home.chmod(0o755)  # PostgreSQL may run as another user
    try:
        found = demo(home)
        host, port = found["GATEWAY_URL"].removeprefix("http://").split(":")
        cut = Cut((host, int(port)))
        os.environ["GATEWAY_DIRECT"] = found["GATEWAY_URL"]
        os.environ["SYNCLINE_GATEWAY_URL"] = f"http://127.0.0.1:{cut.port}"
        os.environ["SYNCLINE_GATEWAY_TOKEN"] = found["GATEWAY_TOKEN"]
        generated = home / "client"
        generated.mkdir()
        generate(str(generated))
        drive(cut)
    finally:
        for command in (["deploy/local/down.sh"], ["deploy/local/servers.sh", "wipe", ".local"]):
            if (home / command[0]).exists():
                subprocess.run(command, cwd=home, stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
