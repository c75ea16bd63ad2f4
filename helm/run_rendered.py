#!/usr/bin/env python3
"""Starts every rendered Deployment here, with exactly its arguments, environment, port and probes, as its own user.

    run_rendered.py MANIFESTS PROGRAM      needs SYNCLINE_NATS_URL and SYNCLINE_DATABASE_URL

What a cluster would fill in is filled in here: Secrets (made up), the addresses of NATS and PostgreSQL (private servers),
names of Services (loopback). First the job that migrates, then all services, each probed as its manifest says; then one
call through the gateway; then SIGTERM, which everybody must follow in time. Bounded, and stops what it started.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

STOP_SECONDS = 30


def secret_values(manifests: list[dict]) -> dict[tuple[str, str], str]:
    """A value for every entry of a Secret that some container reads."""
    values = {}
    for manifest in manifests:
        for container in pod_of(manifest)["containers"]:
            for variable in container["env"]:
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    given = os.environ.get(variable["name"]) if variable["name"].endswith(("NATS_URL", "DATABASE_URL")) else None
                    values.setdefault((reference["name"], reference["key"]), given or secrets.token_hex(32))
    return values


def pod_of(manifest: dict) -> dict:
    return manifest["spec"]["template"]["spec"]


def environment(container: dict, values: dict, hosts: list[str]) -> dict[str, str]:
    """Nothing but what the manifest says, with Services reached on loopback."""
    result = {"PATH": "/usr/bin:/bin"}
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        text = values[reference["name"], reference["key"]] if reference else variable["value"]
        for host in hosts:
            text = text.replace(f"//{host}:", "//127.0.0.1:")
        result[variable["name"]] = text
    return result


class Service:
    def __init__(self, manifest: dict, program: Path, values: dict, hosts: list[str], logs: Path):
        (self.container,) = pod_of(manifest)["containers"]
        self.name = self.container["name"]
        self.log = logs / f"{self.name}.log"
        user = str(pod_of(manifest)["securityContext"]["runAsUser"])
        command = [str(program), *self.container["args"]]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--", *command]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment(self.container, values, hosts), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def fail(self, why: str) -> None:
        print(self.log.read_text(errors="replace")[-3000:], file=sys.stderr)
        sys.exit(f"{self.name}: {why}")

    def probe(self, program: Path, name: str) -> None:
        """As the kubelet would: the handler, the period, the number of failures."""
        probe = self.container[name]
        port, service = probe["grpc"]["port"], probe["grpc"]["service"]
        for _ in range(probe["failureThreshold"]):
            if self.process.poll() is not None:
                self.fail(f"ended with {self.process.returncode}")
            command = [str(program), "health", f"http://127.0.0.1:{port}", "--service", service]
            if subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0:
                return
            time.sleep(probe["periodSeconds"] / 10)
        self.fail(f"its {name} fails")


def main() -> None:
    manifests = [m for m in yaml.safe_load_all(Path(sys.argv[1]).read_text()) if m]
    deployments = [m for m in manifests if m["kind"] == "Deployment"]
    (job,) = [m for m in manifests if m["kind"] == "Job"]
    hosts = [m["metadata"]["name"] for m in manifests if m["kind"] == "Service"]
    values = secret_values([*deployments, job])
    work = Path(tempfile.mkdtemp(prefix="syncline-chart-"))
    work.chmod(0o755)
    services = []
    try:
        # Where every user can run it.
        program = Path(shutil.copy(sys.argv[2], work / "syncline"))
        program.chmod(0o755)
        migration = Service(job, program, values, hosts, work)
        if migration.process.wait(timeout=120) != 0:
            migration.fail("did not migrate")
        print(migration.log.read_text(), end="")
        services = [Service(d, program, values, hosts, work) for d in deployments]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for service in services:
                service.probe(program, probe)
        (gateway,) = [s for s in services if s.name == "gateway"]
        token = environment(gateway.container, values, hosts)["SYNCLINE_GATEWAY_TOKEN"]
        port = gateway.container["ports"][0]["containerPort"]
        asked = {"SYNCLINE_GATEWAY_URL": f"http://127.0.0.1:{port}", "SYNCLINE_GATEWAY_TOKEN": token}
        for command in (["whoami"], ["runs"], ["connection", "list"], ["dead-letters"]):
            subprocess.run([str(program), *command], env=asked, check=True, timeout=60, stdout=subprocess.DEVNULL)
        for service in services:
            service.process.send_signal(signal.SIGTERM)
        for service in services:
            if service.process.wait(timeout=STOP_SECONDS) != 0:
                service.fail(f"ended with {service.process.returncode} after SIGTERM")
        print(f"{len(services)} services ran as rendered: migrated, probed, called, stopped")
    finally:
        for service in services:
            if service.process.poll() is None:
                service.process.kill()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
