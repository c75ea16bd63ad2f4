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
# The runtime's key-encryption keys, by how code names them.
KEKS = {"Raw": "kek-raw", "Clean": "kek-clean", "Credentials": "credentials"}

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
    names = re.search(r"KEY_NAMES:[^=]*= \[(.*?)\];", (RUNTIME / "keys/mod.rs").read_text(), re.DOTALL)
    return set(re.findall(r'"([a-z-]+)"', names[1]))


def source_keys(service: str) -> set[str]:
    """The keys that a service's code asks for."""
    keys = set()
    getters = {name.replace("-", "_"): name for name in key_names()}
    asked = re.compile(r"\bkeys\s*\.(" + "|".join(getters) + r")\(\)")
    for file in (ROOT / "services" / service / "src").rglob("*.rs"):
        text = file.read_text()
        keys.update(getters[name] for name in asked.findall(text))
        keys.update(KEKS[name] for name in re.findall(r"\bKek::(Raw|Clean|Credentials)\b", text))
        keys.update(UNWRAPPED_BY[name] for name in re.findall(r"\.(raw_key|clean_key)\(", text))
    return keys


def bus_users() -> set[str]:
    """Who has a user of NATS: `USERS` and `ADMINISTRATOR` of the bus."""
    text = (ROOT / "libs/bus/src/permissions.rs").read_text()
    table = re.search(r"const USERS:[^=]*= &\[(.*?)^\];", text, re.DOTALL | re.MULTILINE)
    administrator = re.search(r'const ADMINISTRATOR: &str = "([a-z]+)";', text)
    return set(re.findall(r'^        name: "([a-z]+)",', table[1], re.MULTILINE)) | {administrator[1]}


def tls_variables() -> list[str]:
    """What belongs together: authority, certificate, key."""
    names = re.search(r"let names = \[(.*?)\];", (RUNTIME / "tls.rs").read_text())
    return re.findall(r'"([A-Z_]+)"', names[1])


def source_variables(services: list[str]) -> set[str]:
    """Every variable that the runtime or the gateway reads."""
    files = [RUNTIME / "config.rs", RUNTIME / "tls.rs", RUNTIME / "telemetry.rs", ROOT / "services/gateway/src/config.rs"]
    text = "".join(file.read_text() for file in files)
    named = set(re.findall(r'"((?:SYNCLINE|OTEL)_[A-Z_]+)"', text))
    named |= {"SYNCLINE_KEY_" + key.upper().replace("-", "_") for key in key_names()}
    return named | {f"SYNCLINE_{service.upper()}_URL" for service in services} | {"RUST_LOG"}


def source_calls(services: list[str]) -> dict[str, set[str]]:
    """Which services a service calls: through its own code, and through what the runtime does for it."""
    asked = re.compile(r"\bpeers\s*\.(" + "|".join(services) + r")\b")
    calls = {}
    for service in services:
        text = "".join(file.read_text() for file in (ROOT / "services" / service / "src").rglob("*.rs"))
        calls[service] = set(asked.findall(text))
        if "worker::run" in text:  # at every renewal of a lease
            calls[service] |= set(asked.findall((RUNTIME / "worker.rs").read_text()))
        if "Plans::new" in text:
            calls[service] |= set(asked.findall((RUNTIME / "plans.rs").read_text()))
        if re.search(r"\bsyncline_runtime::\{[^}]*\bletters\b", text):
            calls[service] |= set(asked.findall((RUNTIME / "letters.rs").read_text()))
    route = (ROOT / "services/gateway/src/route.rs").read_text()
    peers = re.search(r"pub enum Peer \{(.*?)\}", route, re.DOTALL)
    calls["gateway"] = {peer.lower() for peer in re.findall(r"([A-Z][a-z]+)", peers[1])}
    return calls


def of_kind(manifests: list[dict], kind: str) -> dict[str, dict]:
    """Manifests of a kind by the service they are for."""
    found = {}
    for manifest in manifests:
        if manifest["kind"] == kind:
            service = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
            expect(service not in found, f"{service}: two of kind {kind}")
            found[service] = manifest
    return found


def plain_environment(container: dict) -> dict[str, str]:
    """The variables that are in the manifest itself."""
    return {v["name"]: v["value"] for v in container["env"] if "value" in v}


def container_of(workload: dict) -> dict:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return container


def check_wiring(service: str, deployment: dict, services: dict[str, dict], port: int) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selector = services[service]["spec"]["selector"]
    expect(selector.items() <= labels.items(), f"{service}: its Service selects none of its pods")
    expect(deployment["spec"]["selector"]["matchLabels"] == selector, f"{service}: Deployment and Service select differently")
    (published,) = services[service]["spec"]["ports"]
    container = container_of(deployment)
    listening = {p["name"]: p["containerPort"] for p in container["ports"]}
    expect(len(listening) == len(container["ports"]), f"{service}: two ports of one name")
    expect(published["port"] == listening.get(published["targetPort"]) == port, f"{service}: not on its port {port}")
    environment = plain_environment(container)
    encrypted = serves_tls(service, container)
    expect(published["appProtocol"] == ("https" if encrypted else "kubernetes.io/h2c"), f"{service}: its Service says another protocol")
    if service == "gateway":
        tls, plaintext = "SYNCLINE_GATEWAY_TLS_CERT" in environment, environment.get("SYNCLINE_GATEWAY_PLAINTEXT") == "allow"
        expect(tls != plaintext, "gateway: serves neither with TLS nor, as somebody in front wants it, without")
    # Probes speak no TLS: whoever does answers them elsewhere.
    probed = port
    if encrypted or set(tls_variables()) & environment.keys():
        probed = listening.get("health")
        expect(environment.get("SYNCLINE_HEALTH_LISTEN") == f"0.0.0.0:{probed}", f"{service}: does not answer health on the port {probed}")
        expect(probed != port, f"{service}: answers health with TLS")
    health = (RUNTIME / "health.rs").read_text()
    for probe, asks in (("startupProbe", "liveness"), ("readinessProbe", "readiness"), ("livenessProbe", "liveness")):
        handler = container[probe].get("grpc", {})
        expect(handler.get("port") == probed, f"{service}: the {probe} asks another port")
        expect(handler.get("service") == asks, f"{service}: the {probe} does not ask for {asks}")
        expect(f'"{asks}"' in health, f"no service says whether it is in {asks}")
    expect(container["command"] + container["args"] == ["syncline", "serve", service], f"{service}: runs another program")
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    expect(account == deployment["metadata"]["name"], f"{service}: runs under another service's account")


def serves_tls(service: str, container: dict) -> bool:
    """Whether its own port speaks TLS; the gateway's is for callers from outside."""
    variable = "SYNCLINE_GATEWAY_TLS_CERT" if service == "gateway" else tls_variables()[0]
    return variable in plain_environment(container)


def check_environment(service: str, deployments: dict[str, dict], services: dict[str, dict], known: set[str], ports: dict[str, int]) -> None:
    container = container_of(deployments[service])
    environment = {variable["name"]: variable for variable in container["env"]}
    expect(len(environment) == len(container["env"]), f"{service}: a variable is set twice")
    for name in environment:
        expect(name in known, f"{service}: no service reads {name}")
    expect(environment["SYNCLINE_LISTEN"]["value"] == f"0.0.0.0:{ports[service]}", f"{service}: listens elsewhere")
    for peer, manifest in services.items():
        if peer != service:
            scheme = "https" if serves_tls(peer, container_of(deployments[peer])) else "http"
            url = f"{scheme}://{manifest['metadata']['name']}:{ports[peer]}"
            variable = f"SYNCLINE_{peer.upper()}_URL"
            expect(environment.get(variable, {}).get("value") == url, f"{service}: {variable} is not {url}")

    secret = {name for name, variable in environment.items() if "valueFrom" in variable}
    wanted = {f"SYNCLINE_KEY_{key.upper().replace('-', '_')}" for key in source_keys(service)}
    wanted |= {"SYNCLINE_DATABASE_URL"}
    wanted |= {"SYNCLINE_GATEWAY_TOKEN"} if service == "gateway" else {"SYNCLINE_NATS_URL"}
    expect(environment["SYNCLINE_MIGRATE"]["value"] == "never", f"{service}: migrates beside the job that does")
    expect(secret == wanted, f"{service}: gets the secrets {sorted(secret)}, needs {sorted(wanted)}")
    for name in secret:
        reference = environment[name]["valueFrom"].get("secretKeyRef", {})
        expect(bool(reference.get("name")) and bool(reference.get("key")), f"{service}: {name} leads to no Secret's entry")
        expect(not reference.get("optional"), f"{service}: {name} may be missing")
        if name.startswith("SYNCLINE_KEY_"):
            entry = name.removeprefix("SYNCLINE_KEY_").lower().replace("_", "-")
            expect(reference["key"] == entry, f"{service}: {name} is read from the entry {reference['key']}")


def check_files(service: str, workload: dict) -> None:
    """Every file that a variable names is an entry of a Secret, and nothing is mounted beside them."""
    container = container_of(workload)
    volumes = {v["name"]: v["secret"] for v in workload["spec"]["template"]["spec"].get("volumes", [])}
    mounted = {}
    for mount in container.get("volumeMounts", []):
        expect(mount.get("readOnly") is True, f"{service}: may write to {mount['mountPath']}")
        volume = volumes.get(mount["name"], {})
        expect(volume.get("defaultMode") == 0o440, f"{service}: others can read {mount['mountPath']}")
        mounted |= {f"{mount['mountPath']}/{item['path']}": item["key"] for item in volume.get("items", [])}
    named = {value for value in plain_environment(container).values() if value.startswith("/")}
    expect(named == mounted.keys(), f"{service}: is told of the files {sorted(named)}, has {sorted(mounted)}")
    for path, key in mounted.items():
        expect(path.endswith("/" + key), f"{service}: {path} is the entry {key}")
    expect({m["name"] for m in container.get("volumeMounts", [])} == volumes.keys(), f"{service}: has a volume that it does not mount")


def check_mutual_tls(workloads: dict[str, dict]) -> None:
    """All of them or none; each with the three files of a Secret that is its own."""
    if not any(set(tls_variables()) & plain_environment(container_of(w)).keys() for w in workloads.values()):
        return
    wanted = dict(zip(tls_variables(), ("ca.crt", "tls.crt", "tls.key"), strict=True))
    prefixes = set()
    for service, workload in workloads.items():
        container = container_of(workload)
        environment = plain_environment(container)
        folders = set()
        for variable, entry in wanted.items():
            folder, _, file = environment.get(variable, "").rpartition("/")
            expect(file == entry, f"{service}: {variable} is not the entry {entry} of a Secret")
            folders.add(folder)
        mounts = {m["name"] for m in container.get("volumeMounts", []) if {m["mountPath"]} == folders}
        secrets = [v["secret"]["secretName"] for v in workload["spec"]["template"]["spec"].get("volumes", []) if v["name"] in mounts]
        expect(len(secrets) == 1 and secrets[0].endswith(f"-{service}"), f"{service}: has the certificate of {secrets}")
        prefixes |= {secret.removesuffix(f"-{service}") for secret in secrets}
    expect(len(prefixes) == 1, f"certificates are of several installations: {sorted(prefixes)}")


def check_bus_users(workloads: dict[str, dict]) -> None:
    """One address for all, or each its own."""
    entries, secrets = {}, set()
    for service, workload in workloads.items():
        for variable in container_of(workload)["env"]:
            if variable["name"] == "SYNCLINE_NATS_URL":
                entries[service] = variable["valueFrom"]["secretKeyRef"]["key"]
                secrets.add(variable["valueFrom"]["secretKeyRef"]["name"])
    expect(entries.keys() == bus_users(), f"NATS is known to {sorted(entries)}, has users for {sorted(bus_users())}")
    own = {service: f"url-{service}" for service in entries}
    expect(len(set(entries.values())) == 1 or entries == own, f"NATS is spoken to as {entries}")
    expect(len(secrets) == 1, f"several Secrets say where NATS is: {sorted(secrets)}")


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
    expect(not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), f"{service}: reaches into its node")
    for volume in pod.get("volumes", []):
        expect(volume.keys() == {"name", "secret"}, f"{service}: mounts something that is no Secret")
    expect(pod["automountServiceAccountToken"] is False, f"{service}: may speak to Kubernetes")
    expect(pod["enableServiceLinks"] is False, f"{service}: gets variables that Kubernetes names")
    resources = container["resources"]
    expect("memory" in resources["limits"], f"{service}: memory has no limit")
    expect({"cpu", "memory"} <= resources["requests"].keys(), f"{service}: asks for nothing")


def selected(selector: dict, deployments: dict[str, dict]) -> set[str]:
    """The services whose pods a selector finds."""
    wanted = selector["matchLabels"].items()
    return {name for name, d in deployments.items() if wanted <= d["spec"]["template"]["metadata"]["labels"].items()}


def check_policy(service: str, policy: dict, deployments: dict[str, dict], calls: dict[str, set[str]], ports: dict[str, int]) -> None:
    """Exactly the calls that the sources make are let through, on exactly their ports."""
    spec = policy["spec"]
    expect(selected(spec["podSelector"], deployments) == {service}, f"{service}: its policy is about other pods")
    expect(set(spec["policyTypes"]) == {"Ingress", "Egress"}, f"{service}: its policy leaves a direction open")
    callers = set()
    for rule in spec["ingress"]:
        expect({p["port"] for p in rule["ports"]} == {ports[service]}, f"{service}: is reached on another port")
        for peer in rule.get("from", []):
            callers |= selected(peer["podSelector"], deployments)
    if service == "gateway":
        expect(all("from" not in rule for rule in spec["ingress"]), "gateway: cannot be reached from outside")
    else:
        wanted = {caller for caller, called in calls.items() if service in called}
        expect(callers == wanted, f"{service}: is open to {sorted(callers)}, called by {sorted(wanted)}")
        expect(all("from" in rule for rule in spec["ingress"]), f"{service}: is open to everybody")
    called = set()
    for rule in spec["egress"]:
        for peer in rule.get("to", []):
            names = selected(peer["podSelector"], deployments)
            called |= names
            expect({p["port"] for p in rule["ports"]} == {ports[name] for name in names}, f"{service}: may call another port")
    expect(called == calls[service], f"{service}: may call {sorted(called)}, calls {sorted(calls[service])}")
    outside = {p["port"] for rule in spec["egress"] if "to" not in rule for p in rule["ports"]}
    text = "".join(file.read_text() for file in (ROOT / "services" / service / "src").rglob("*.rs"))
    speaks_to_orgs = "syncline_salesforce" in text
    expect(service == "gateway" or (443 in outside) == speaks_to_orgs, f"{service}: reaches orgs though it needs not, or not though it must")


def check_job(job: dict, known: set[str]) -> None:
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    expect(container["command"] + container["args"] == ["syncline", "migrate"], "migrate: runs another program")
    expect(job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade", "migrate: does not run first")
    for variable in container["env"]:
        expect(variable["name"] in known, f"migrate: nobody reads {variable['name']}")
    secret = {v["name"] for v in container["env"] if "valueFrom" in v}
    expect(secret == {"SYNCLINE_NATS_URL", "SYNCLINE_DATABASE_URL"}, f"migrate: gets the secrets {sorted(secret)}")
    expect(pod["securityContext"]["runAsNonRoot"] is True, "migrate: may run as root")
    expect(container["securityContext"]["readOnlyRootFilesystem"] is True, "migrate: may write to its image")


def main() -> int:
    namespace, path = sys.argv[1:]
    manifests = [m for m in yaml.safe_load_all(Path(path).read_text()) if m]
    ports = source_ports()
    known = source_variables(list(ports))
    deployments, services = of_kind(manifests, "Deployment"), of_kind(manifests, "Service")
    accounts = of_kind(manifests, "ServiceAccount")
    policies = of_kind(manifests, "NetworkPolicy")
    calls = source_calls(list(ports))
    for manifest in manifests:
        expect(manifest["metadata"].get("namespace") == namespace, f"{manifest['metadata']['name']}: is in no namespace of its own")
    for kind, found in (("Deployment", deployments), ("Service", services), ("ServiceAccount", accounts)):
        expect(found.keys() == ports.keys(), f"of kind {kind}: {sorted(found)}, the services are {sorted(ports)}")
    if not problems:
        for service, port in ports.items():
            check_wiring(service, deployments[service], services, port)
            check_environment(service, deployments, services, known, ports)
            check_security(service, deployments[service])
            expect(accounts[service]["automountServiceAccountToken"] is False, f"{service}: its account has a token")
            if policies:
                check_policy(service, policies[service], deployments, calls, ports)
        (job,) = [m for m in manifests if m["kind"] == "Job"]
        check_job(job, known)
        workloads = deployments | {"migrate": job}
        for name, workload in workloads.items():
            check_files(name, workload)
        check_mutual_tls(workloads)
        check_bus_users(workloads)
        scaled = [m for m in manifests if m["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
        for scaler in scaled:
            target = scaler["spec"]["scaleTargetRef"]["name"]
            (deployment,) = [d for d in deployments.values() if d["metadata"]["name"] == target]
            expect("replicas" not in deployment["spec"], f"{target}: two of them set its number of pods")
            consumer = scaler["spec"].get("triggers", [{"metadata": {}}])[0]["metadata"].get("consumer")
            service = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
            expect(consumer in (None, f"tasks-{service}"), f"{target}: follows the consumer {consumer}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
