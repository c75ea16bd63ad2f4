#!/usr/bin/env python3
"""Holds rendered manifests against the services' sources and against what the chart promises.

    check_rendered.py NAMESPACE FILE      exit code 1 and one line per broken promise

Kubernetes' schemas are checked elsewhere (.ci/chart); here is what no schema knows: that ports, variables and keys are
those of the programs, that names lead to something, that no service has a secret it does not need, and that every pod
keeps the `restricted` Pod Security Standard.
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "libs/runtime/src"
# What reads a run's data key unwraps it with the key-encryption key of the same colour.
UNWRAPPED_BY = {"raw_key": "kek-raw", "clean_key": "kek-clean"}

problems: list[str] = []


def expect(holds: bool, problem: str) -> None:
    if not holds:
        problems.append(problem)


def source_ports() -> dict[str, int]:
    """`PORTS` of the runtime."""
    table = re.search(r"PORTS:[^=]*= \[(.*?)\];", (RUNTIME / "config.rs").read_text(), re.DOTALL)
    return {name: int(port) for name, port in re.findall(r'\("([a-z]+)", (\d+)\)', table[1])}


def key_names() -> set[str]:
    """`KEY_NAMES` of the runtime."""
    names = re.search(r"KEY_NAMES:[^=]*= \[(.*?)\];", (RUNTIME / "keys.rs").read_text(), re.DOTALL)
    return set(re.findall(r'"([a-z-]+)"', names[1]))


def source_keys(service: str) -> set[str]:
    """The keys that a service's code asks for."""
    keys = set()
    getters = {name.replace("-", "_"): name for name in key_names()}
    asked = re.compile(r"\bkeys\s*\.(" + "|".join(getters) + r")\(\)")
    for file in (ROOT / "services" / service / "src").rglob("*.rs"):
        text = file.read_text()
        keys.update(getters[name] for name in asked.findall(text))
        keys.update(UNWRAPPED_BY[name] for name in re.findall(r"\.(raw_key|clean_key)\(", text))
    return keys


def source_variables(services: list[str]) -> set[str]:
    """Every variable that the runtime reads."""
    text = "".join((RUNTIME / name).read_text() for name in ("config.rs", "telemetry.rs"))
    named = set(re.findall(r'"((?:SYNCLINE|OTEL)_[A-Z_]+)"', text))
    named |= {"SYNCLINE_KEY_" + key.upper().replace("-", "_") for key in key_names()}
    return named | {f"SYNCLINE_{service.upper()}_URL" for service in services} | {"RUST_LOG"}


def of_kind(manifests: list[dict], kind: str) -> dict[str, dict]:
    """Manifests of a kind by the service they are for."""
    found = {}
    for manifest in manifests:
        if manifest["kind"] == kind:
            service = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
            expect(service not in found, f"{service}: two of kind {kind}")
            found[service] = manifest
    return found


def check_wiring(service: str, deployment: dict, services: dict[str, dict], port: int) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selector = services[service]["spec"]["selector"]
    expect(selector.items() <= labels.items(), f"{service}: its Service selects none of its pods")
    expect(deployment["spec"]["selector"]["matchLabels"] == selector, f"{service}: Deployment and Service select differently")
    (published,) = services[service]["spec"]["ports"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (listening,) = container["ports"]
    expect(published["port"] == listening["containerPort"] == port, f"{service}: not on its port {port}")
    expect(published["targetPort"] == listening["name"], f"{service}: its Service leads to no port")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        expect(container[probe]["grpc"]["port"] == port, f"{service}: the {probe} asks another port")
    expect(container["command"] == [f"syncline-{service}"], f"{service}: runs another program")


def check_environment(service: str, deployment: dict, services: dict[str, dict], known: set[str], ports: dict[str, int]) -> None:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable for variable in container["env"]}
    expect(len(environment) == len(container["env"]), f"{service}: a variable is set twice")
    for name in environment:
        expect(name in known, f"{service}: no service reads {name}")
    expect(environment["SYNCLINE_LISTEN"]["value"] == f"0.0.0.0:{ports[service]}", f"{service}: listens elsewhere")
    for peer, manifest in services.items():
        if peer != service:
            url = f"http://{manifest['metadata']['name']}:{ports[peer]}"
            variable = f"SYNCLINE_{peer.upper()}_URL"
            expect(environment.get(variable, {}).get("value") == url, f"{service}: {variable} is not {url}")

    secret = {name for name, variable in environment.items() if "valueFrom" in variable}
    wanted = {f"SYNCLINE_KEY_{key.upper().replace('-', '_')}" for key in source_keys(service)}
    wanted |= {"SYNCLINE_GATEWAY_TOKEN"} if service == "gateway" else {"SYNCLINE_NATS_URL", "SYNCLINE_DATABASE_URL"}
    expect(secret == wanted, f"{service}: gets the secrets {sorted(secret)}, needs {sorted(wanted)}")
    for name in secret:
        reference = environment[name]["valueFrom"].get("secretKeyRef", {})
        expect(bool(reference.get("name")) and bool(reference.get("key")), f"{service}: {name} leads to no Secret's entry")
        expect(not reference.get("optional"), f"{service}: {name} may be missing")
        if name.startswith("SYNCLINE_KEY_"):
            entry = name.removeprefix("SYNCLINE_KEY_").lower().replace("_", "-")
            expect(reference["key"] == entry, f"{service}: {name} is read from the entry {reference['key']}")


def check_security(service: str, deployment: dict) -> None:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    context = container["securityContext"]
    shared = pod["securityContext"]
    expect(shared["runAsNonRoot"] is True and shared["runAsUser"] > 0, f"{service}: may run as root")
    expect(shared["seccompProfile"] == {"type": "RuntimeDefault"}, f"{service}: runs without seccomp")
    expect(context["allowPrivilegeEscalation"] is False, f"{service}: may gain privileges")
    expect(context["capabilities"] == {"drop": ["ALL"]}, f"{service}: keeps capabilities")
    expect(context["readOnlyRootFilesystem"] is True, f"{service}: may write to its image")
    expect(not {"privileged", "runAsUser", "runAsNonRoot"} & context.keys(), f"{service}: the container undoes what holds for the pod")
    expect(not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys(), f"{service}: reaches into its node")
    expect(pod["automountServiceAccountToken"] is False, f"{service}: may speak to Kubernetes")
    expect(pod["enableServiceLinks"] is False, f"{service}: gets variables that Kubernetes names")
    resources = container["resources"]
    expect("memory" in resources["limits"], f"{service}: memory has no limit")
    expect({"cpu", "memory"} <= resources["requests"].keys(), f"{service}: asks for nothing")


def main() -> int:
    namespace, path = sys.argv[1:]
    manifests = [m for m in yaml.safe_load_all(Path(path).read_text()) if m]
    ports = source_ports()
    known = source_variables(list(ports))
    deployments, services = of_kind(manifests, "Deployment"), of_kind(manifests, "Service")
    expect(len(manifests) == 2 * len(ports), f"{len(manifests)} manifests for {len(ports)} services")
    for manifest in manifests:
        expect(manifest["metadata"].get("namespace") == namespace, f"{manifest['metadata']['name']}: is in no namespace of its own")
    for kind, found in (("Deployment", deployments), ("Service", services)):
        expect(found.keys() == ports.keys(), f"of kind {kind}: {sorted(found)}, the services are {sorted(ports)}")
    if not problems:
        for service, port in ports.items():
            check_wiring(service, deployments[service], services, port)
            check_environment(service, deployments[service], services, known, ports)
            check_security(service, deployments[service])
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
