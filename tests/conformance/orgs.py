"""Orgs for one client: simulators of its own behind TLS, and a CONNECT proxy that is the way to Salesforce's login hosts."""

import contextlib
import json
import socket
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60
STOP_SECONDS = 20
BUFFER_BYTES = 65536

KINDS = {
    # Small pages, so that what is there takes several.
    "source": ["--org", "production", "--query-page-rows", "500", "--rows", str(ROOT / "tests/simulators/salesforce/data/rows/synthetic-b2b")],
    "target": ["--org", "sandbox"],
    # Keep-alives at once, or a test of them would take a minute.
    "events": ["--org", "sandbox", "--pubsub-port", "0", "--cdc", "Account,Contact", "--pubsub-keepalive-ms", "200",
               "--platform-event", "Order_Event__e: Number__c text, Total__c number", "--managed-subscription", "Sync=/data/AccountChangeEvent@EARLIEST"],
}
HOSTS = ("login.salesforce.com", "test.salesforce.com", "*.my.salesforce.com")


def certificates(into):
    """An authority, a server's certificate for loopback and the login hosts, and a pair for the JWT flow; all end with the run."""
    names = ",".join(["DNS:localhost", "IP:127.0.0.1", *(f"DNS:{host}" for host in HOSTS)])
    (into / "extensions").write_text(f"subjectAltName={names}\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for command in (
        ["req", "-x509", *new_key, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=conformance authority",
         "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"],
        ["req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
         "-out", "server.pem", "-extfile", "extensions"],
        ["genpkey", "-algorithm", "RSA", "-out", "jwt.key"],
        ["pkey", "-in", "jwt.key", "-pubout", "-out", "jwt.pub"],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], cwd=into, check=True, capture_output=True)


@contextlib.contextmanager
def org(program, kind, home, keys):
    """The facts of a running org, in a file."""
    ready = home / f"{kind}.json"
    command = [str(program), *KINDS[kind], "--ready-file", str(ready), "--jwt-key", str(keys / "jwt.pub")]
    command += ["--tls-cert", str(keys / "server.pem"), "--tls-key", str(keys / "server.key")]
    with (home / f"{kind}.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the {kind} org does not start: {(home / f'{kind}.log').read_text()[-500:]}")
                time.sleep(0.02)
            facts = json.loads(ready.read_text())
            facts["jwt_private_key"] = str(keys / "jwt.key")
            ready.write_text(json.dumps(facts))
            yield ready, facts
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


class ConnectProxy:
    """Answers CONNECT: Salesforce's hosts lead to one org, loopback to itself, nothing to anywhere else."""

    def __init__(self, tls_port):
        self.tls_port = tls_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        with contextlib.suppress(OSError), near:
            head = b""
            while b"\r\n\r\n" not in head and len(head) < BUFFER_BYTES:
                data = near.recv(BUFFER_BYTES)
                if not data:
                    return
                head += data
            target = self._target(head)
            if target is None:
                near.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(target) as far:
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
                back.start()
                self._copy(near, far)
                back.join()

    def _target(self, head):
        method, address, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        host, _, port = address.rpartition(":")
        if method != "CONNECT":
            return None
        if host.endswith(".salesforce.com") and port == "443":
            return ("127.0.0.1", self.tls_port)
        return (host, int(port)) if host in ("127.0.0.1", "localhost") and port.isdigit() else None

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(BUFFER_BYTES):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)
