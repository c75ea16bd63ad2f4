"""A simulator of a recording's own, and plain HTTP to it."""

import contextlib
import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

VERSION = "v65.0"
START_SECONDS = 60
STOP_SECONDS = 20
REQUEST_SECONDS = 60
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Org:
    def __init__(self, facts):
        self.facts = facts
        self.describes = {}

    def send(self, method, path, body=None, headers=None, session=True):
        """Status and body: JSON if it is, else text. `path` may be below the versioned root or the host's."""
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        given = {"content-type": "application/json"} | ({"authorization": f"Bearer {self.facts['token']}"} if session else {})
        url = self.facts["url"] + (path if path.startswith("/") else f"/services/data/{VERSION}/{path}")
        request = urllib.request.Request(url, method=method, headers=given | (headers or {}), data=data)
        try:
            with NO_PROXY.open(request, timeout=REQUEST_SECONDS) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode(errors="replace")
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text or None

    def do(self, method, path, body=None):
        """What must succeed."""
        status, answer = self.send(method, path, body)
        if status >= 300:
            raise AssertionError(f"preparing: {method} {path}: {status} {json.dumps(answer)[:300]}")
        return answer

    def rows(self, soql):
        page = self.do("GET", f"query?{urllib.parse.urlencode({'q': soql})}")
        found = page["records"]
        while not page["done"]:
            page = self.do("GET", page["nextRecordsUrl"])
            found += page["records"]
        return found

    def describe(self, name):
        if name not in self.describes:
            self.describes[name] = self.do("GET", f"sobjects/{name}/describe")
        return self.describes[name]


@contextlib.contextmanager
def running(program, flags=()):
    with tempfile.TemporaryDirectory(prefix="recordings.", dir=Path.cwd()) as home:
        ready = Path(home) / "ready.json"
        with (Path(home) / "log").open("w") as log:
            command = [program, "--org", "sandbox", *flags, "--ready-file", str(ready)]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the org does not start: {(Path(home) / 'log').read_text()[-500:]}")
                time.sleep(0.01)
            yield Org(json.loads(ready.read_text()))
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
