#!/usr/bin/env python3
"""Starts every rendered Deployment here, with exactly its arguments, environment, files, ports and probes, as its own user.

    run_rendered.py MANIFESTS PROGRAM      needs SYNCLINE_NATS_URL and SYNCLINE_DATABASE_URL

What a cluster would fill in is filled in here. Secrets are made by the very commands of the chart's README, kubectl being a
stand-in. NATS and PostgreSQL are private servers; where services speak mTLS, a NATS of this program's own that is configured
as the README says. Each pod has an address of its own, on loopback. First the job that migrates, then all services, each
probed as its manifest says; then some calls through the gateway; then SIGTERM, which everybody must follow in time. Bounded,
and stops what it started.
"""

import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

HELM = Path(__file__).resolve().parent
LOCAL = HELM.parent / "deploy/local"
README = (HELM / "syncline/README.md").read_text()
# Hosts that the README's commands name.
NATS_HOST, GATEWAY_HOST = "nats.nats.svc", "syncline.example"
NATS_PORT, NATS_MONITOR_PORT = 4222, 8222
NATS_READY_SECONDS = 20
STOP_SECONDS = 30


def block(heading: str, kind: str) -> str:
    """The first block of code of a kind under a heading of the README."""
    section = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", README, re.DOTALL | re.MULTILINE)
    code = section and re.search(rf"^```{kind}\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    if not code:
        sys.exit(f"the chart's README has no block of {kind} under `{heading}`")
    return code[1]


def pod_of(manifest: dict) -> dict:
    return manifest["spec"]["template"]["spec"]


def container_of(manifest: dict) -> dict:
    (container,) = pod_of(manifest)["containers"]
    return container


def names(container: dict) -> set[str]:
    return {variable["name"] for variable in container["env"]}


class Cluster:
    """Addresses of pods and of NATS, Secrets, and what is mounted."""

    def __init__(self, deployments: list[dict], job: dict, work: Path, program: Path):
        self.work, self.program = work, program
        # Whatever was started, in order.
        self.processes: list[subprocess.Popen] = []
        network = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
        # A Service has its Deployment's name.
        self.addresses = {d["metadata"]["name"]: f"{network}.{i}" for i, d in enumerate(deployments, start=1)}
        self.nats = f"{network}.100"
        self.mutual = "SYNCLINE_TLS_CA" in names(container_of(job))
        (gateway,) = [d for d in deployments if container_of(d)["name"] == "gateway"]
        self.gateway = self.addresses[gateway["metadata"]["name"]]
        self.secrets, self.kept = work / "secrets", work / "kept"

    def make_secrets(self) -> None:
        for folder in (self.secrets, self.kept):
            folder.mkdir(mode=0o700)
        for file, variable in (("database-url.txt", "SYNCLINE_DATABASE_URL"), ("nats-url.txt", "SYNCLINE_NATS_URL")):
            (self.kept / file).write_text(os.environ[variable])
        path = f"{HELM / 'stand-in'}:{self.program.parent}:{os.environ['PATH']}"
        env = {"PATH": path, "STAND_IN_SECRETS": str(self.secrets)}
        for heading in ("Secrets", "Hardened" if self.mutual else "Not hardened"):
            script = block(heading, "sh").replace(NATS_HOST, self.nats).replace(GATEWAY_HOST, self.gateway)
            subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=self.kept, env=env, check=True, timeout=120, stdout=subprocess.DEVNULL)

    def entry(self, secret: str, key: str) -> str:
        file = self.secrets / secret / key
        if not file.is_file():
            sys.exit(f"the README's commands make no entry {key} of a Secret {secret}")
        return file.read_text()

    def mount(self, manifest: dict) -> dict[str, Path]:
        """Makes the files of a pod's volumes, for its group; says what is mounted where."""
        pod, container = pod_of(manifest), container_of(manifest)
        volumes = {volume["name"]: volume["secret"] for volume in pod.get("volumes", [])}
        mounted = {}
        for mount in container.get("volumeMounts", []):
            secret = volumes[mount["name"]]
            folder = self.work / "mounted" / container["name"] / mount["name"]
            folder.mkdir(parents=True)
            for item in secret["items"]:
                file = folder / item["path"]
                file.write_text(self.entry(secret["secretName"], item["key"]))
                if os.geteuid() == 0:
                    os.chown(file, 0, pod["securityContext"]["fsGroup"])
                file.chmod(secret["defaultMode"])
            mounted[mount["mountPath"]] = folder
        return mounted

    def environment(self, manifest: dict, mounted: dict[str, Path]) -> dict[str, str]:
        """Nothing but what the manifest says, with everything where it is here."""
        result = {"PATH": "/usr/bin:/bin"}
        own = self.addresses.get(manifest["metadata"]["name"], "")
        for variable in container_of(manifest)["env"]:
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            text = self.entry(reference["name"], reference["key"]) if reference else variable["value"]
            for host, address in self.addresses.items():
                text = text.replace(f"//{host}:", f"//{address}:")
            for path, folder in mounted.items():
                text = re.sub(rf"^{re.escape(path)}/", f"{folder}/", text)
            result[variable["name"]] = re.sub(r"^0\.0\.0\.0:", f"{own}:", text)
        return result

    def start(self, command: list[str], log: Path, **more) -> subprocess.Popen:
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()

    def start_nats(self) -> None:
        """With TLS and a user per service, as the README says."""
        folder = self.work / "nats"
        folder.mkdir(mode=0o700)
        steps = 'set -euo pipefail; LOCAL_SCRIPTS=$1; source "$1/process.sh"; source "$1/nats.sh"; nats_write_config "$2" "$3" "$4" none; nats_binary'
        command = ["bash", "-c", steps, "nats", str(LOCAL), str(folder), str(NATS_PORT), str(NATS_MONITOR_PORT)]
        binary = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.strip()
        config = folder / "nats.conf"
        settings, _, _ = config.read_text().partition("authorization {")
        hardened = block("Hardened", "conf").replace("/etc/nats/tls", str(self.kept / "installation/tls"))
        config.write_text(settings.replace("127.0.0.1", self.nats) + hardened)
        shutil.copy(self.kept / "installation/nats/users.conf", folder)
        log = folder / "nats.log"
        server = self.start([binary, "-c", str(config)], log)
        for _ in range(NATS_READY_SECONDS * 10):
            if server.poll() is not None:
                break
            try:
                if self.ask_nats("healthz")["status"] == "ok":
                    return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit(f"NATS does not start: {log.read_text(errors='replace')[-3000:]}")

    def ask_nats(self, path: str) -> dict:
        with urllib.request.urlopen(f"http://{self.nats}:{NATS_MONITOR_PORT}/{path}", timeout=5) as answer:
            return json.load(answer)


class Service:
    def __init__(self, manifest: dict, cluster: Cluster):
        self.container, self.cluster = container_of(manifest), cluster
        self.name = self.container["name"]
        self.address = cluster.addresses.get(manifest["metadata"]["name"], "")
        self.environment = cluster.environment(manifest, cluster.mount(manifest))
        self.log = cluster.work / f"{self.name}.log"
        user = str(pod_of(manifest)["securityContext"]["runAsUser"])
        command = [str(cluster.program), *self.container["args"]]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--", *command]
        self.process = cluster.start(command, self.log, env=self.environment, cwd="/")

    def fail(self, why: str) -> None:
        print(self.log.read_text(errors="replace")[-3000:], file=sys.stderr)
        sys.exit(f"{self.name}: {why}")

    @property
    def port(self) -> int:
        return {p["name"]: p["containerPort"] for p in self.container["ports"]}["grpc"]

    def serves_tls(self) -> bool:
        return ("SYNCLINE_GATEWAY_TLS_CERT" if self.name == "gateway" else "SYNCLINE_TLS_CERT") in self.environment

    def answers(self, port: int, service: str) -> bool:
        """Without TLS, as the kubelet asks."""
        command = [str(self.cluster.program), "health", f"http://{self.address}:{port}", "--service", service]
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0

    def probe(self, name: str) -> None:
        """As the kubelet would: the handler, the period, the number of failures."""
        probe = self.container[name]
        for _ in range(probe["failureThreshold"]):
            if self.process.poll() is not None:
                self.fail(f"ended with {self.process.returncode}")
            if self.answers(probe["grpc"]["port"], probe["grpc"]["service"]):
                return
            time.sleep(probe["periodSeconds"] / 10)
        self.fail(f"its {name} fails")


def call(gateway: Service, cluster: Cluster) -> None:
    scheme = "https" if gateway.serves_tls() else "http"
    asked = {
        "SYNCLINE_GATEWAY_URL": f"{scheme}://{gateway.address}:{gateway.port}",
        "SYNCLINE_GATEWAY_TOKEN": gateway.environment["SYNCLINE_GATEWAY_TOKEN"],
    }
    if scheme == "https":
        asked["SYNCLINE_GATEWAY_CA"] = str(cluster.kept / "installation/tls/ca.pem")
    for command in (["whoami"], ["runs"], ["connection", "list"], ["dead-letters"]):
        subprocess.run([str(cluster.program), *command], env=asked, check=True, timeout=60, stdout=subprocess.DEVNULL)


def check_hardened(services: list[Service], cluster: Cluster) -> None:
    """Everybody under its own name: by TLS at its port, and at NATS."""
    files = cluster.kept / "installation/tls"
    caller = ssl.create_default_context(cafile=files / "ca.pem")
    caller.load_cert_chain(files / "gateway.pem", files / "gateway.key")
    for service in services:
        with socket.create_connection((service.address, service.port), timeout=10) as connection:
            try:
                caller.wrap_socket(connection, server_hostname=f"{service.name}.syncline").close()
            except ssl.SSLError as error:
                service.fail(f"does not show its certificate: {error}")
    seen = {(c["authorized_user"], "tls_version" in c) for c in cluster.ask_nats("connz?auth=1")["connections"]}
    wanted = {(s.name, True) for s in services if "SYNCLINE_NATS_URL" in s.environment}
    if seen != wanted:
        sys.exit(f"NATS sees (user, TLS) {sorted(seen)}, not {sorted(wanted)}")


def main() -> None:
    manifests = [m for m in yaml.safe_load_all(Path(sys.argv[1]).read_text()) if m]
    deployments = [m for m in manifests if m["kind"] == "Deployment"]
    (job,) = [m for m in manifests if m["kind"] == "Job"]
    work = Path(tempfile.mkdtemp(prefix="syncline-chart-"))
    work.chmod(0o755)
    # Where every user can run it.
    (work / "bin").mkdir()
    program = Path(shutil.copy(sys.argv[2], work / "bin/syncline"))
    program.chmod(0o755)
    cluster = Cluster(deployments, job, work, program)
    try:
        cluster.make_secrets()
        if cluster.mutual:
            cluster.start_nats()
        migration = Service(job, cluster)
        if migration.process.wait(timeout=120) != 0:
            migration.fail("did not migrate")
        print(migration.log.read_text(), end="")
        services = [Service(deployment, cluster) for deployment in deployments]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for service in services:
                service.probe(probe)
        (gateway,) = [s for s in services if s.name == "gateway"]
        call(gateway, cluster)
        if cluster.mutual:
            check_hardened(services, cluster)
        for service in services:
            service.process.send_signal(signal.SIGTERM)
        for service in services:
            if service.process.wait(timeout=STOP_SECONDS) != 0:
                service.fail(f"ended with {service.process.returncode} after SIGTERM")
        how = "with mTLS, as its own user of NATS" if cluster.mutual else "without TLS between them"
        print(f"{len(services)} services ran as rendered, {how}: migrated, probed, called, stopped")
    finally:
        cluster.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
