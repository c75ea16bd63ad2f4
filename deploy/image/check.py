#!/usr/bin/env python3
"""Holds the image, compose.yaml and the bill of materials against the sources and the chart they must agree with.

    check.py [SBOM]       exit code 1 and one line per broken promise

hadolint and the schemas of compose files and CycloneDX are run elsewhere (.ci/image); here is what they cannot know: that
the image is made by the Makefile's step with the pinned toolchain, that chart and image agree on user and program, that
the build's context is complete and holds nothing else, that every service of compose.yaml runs as the chart would run it,
and that every checksum is Cargo.lock's.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "helm"))
import check_rendered as chart  # noqa: E402 - what the sources and the chart say is read there

DOCKERFILE = ROOT / "deploy/image/Dockerfile"
IGNORE = ROOT / "deploy/image/Dockerfile.dockerignore"
COMPOSE = ROOT / "deploy/compose.yaml"
# What must never reach a builder, wherever it lies; the folders are ignored with all that is in them.
PRIVATE = (".git/config", ".local/keys/mask", "target/release/syncline", "services/.local/keys/mask", "tests/e2e/target/x", ".env")

problems: list[str] = []


def expect(holds: bool, problem: str) -> None:
    if not holds:
        problems.append(problem)


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction's keyword and the rest, continuation lines joined, without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def chart_user() -> str:
    user = yaml.safe_load((ROOT / "helm/syncline/values.yaml").read_text())["runAsUser"]
    return f"{user}:{user}"


def chart_services() -> dict[str, dict]:
    text = (ROOT / "helm/syncline/templates/_services.tpl").read_text()
    return yaml.safe_load(re.search(r'define "syncline.services" -}}\n(.*?)\{\{- end', text, re.DOTALL)[1])


def targets() -> dict[str, str]:
    """The Makefile's targets with their commands."""
    return dict(re.findall(r"^([a-z-]+):[^\n]*\n((?:\t[^\n]*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_dockerfile() -> None:
    steps = instructions(DOCKERFILE.read_text())
    stages = [rest for word, rest in steps if word == "FROM"]
    last = steps[max(i for i, (word, _) in enumerate(steps) if word == "FROM") :]
    values = dict(rest.split("=", 1) for word, rest in steps if word == "ARG" and "=" in rest)

    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    expect(values.get("RUST_VERSION") == toolchain, f"the image is built with Rust {values.get('RUST_VERSION')}, the workspace with {toolchain}")
    expect(stages[0].startswith("rust:${RUST_VERSION}-bookworm${BUILDER_DIGEST:+@$BUILDER_DIGEST} "), "the builder is not the pinned toolchain's image")
    expect(stages[-1].endswith("${RUNTIME_DIGEST:+@$RUNTIME_DIGEST}"), "the base of the image cannot be pinned")
    expect("debian12" in stages[-1], "the base has not the libraries of the builder's Debian 12")
    variables = " ".join(rest for word, rest in steps if word == "ENV")
    expect("RUSTUP_TOOLCHAIN=${RUST_VERSION}" in variables, "rustup may choose another toolchain")
    for path in ("/src", "/usr/local/cargo", "/target"):
        expect(f"--remap-path-prefix={path}=" in variables, f"the program may name {path}")
    expect("CARGO_INCREMENTAL=0" in variables, "the build is incremental")
    expect(not re.search(r"CARGO_PROFILE_RELEASE_(?!STRIP)|CARGO_BUILD", variables), "the image's program is built with other settings than the tested one")

    commands = [rest for word, rest in steps if word == "RUN"]
    expect(any(re.search(r"(^| )make binary sbom( |$)", c) for c in commands), "the program is not made by `make binary sbom`")
    expect(not any(re.search(r"\b(cargo|rustc|rustup|apt|apt-get|curl|wget|pip)\b", re.sub(r"--mount=\S+", "", c)) for c in commands), "a step is not the Makefile's")
    expect(targets().get("binary") == "\tcargo build --locked --release -p syncline-cli\n", "`make binary` does something else")
    expect(re.search(r"^build:.*\bbinary\b", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None, "`make build` does not build by `make binary`")

    users = [rest for word, rest in last if word == "USER"]
    expect(users == [chart_user()], f"the image's user is {users}, the chart's {chart_user()}")
    # The chart and compose.yaml name the program by its name and by its path.
    entry = [rest for word, rest in last if word == "ENTRYPOINT"]
    expect(entry == ['["/usr/local/bin/syncline"]'], f"the image starts {entry}")
    for template in ("deployments.yaml", "migrate.yaml"):
        text = (ROOT / "helm/syncline/templates" / template).read_text()
        expect('command: ["syncline"]' in text, f"the chart's {template} starts another program")
    expect(any("/target/release/syncline /out/usr/local/bin/syncline" in c for c in commands), "the program is not where the image starts it")
    allowed = {"FROM", "ARG", "LABEL", "COPY", "USER", "ENTRYPOINT"}
    expect({word for word, _ in last} <= allowed, f"the last stage has {sorted({word for word, _ in last} - allowed)}")
    expect([rest for word, rest in last if word == "COPY"] == ["--from=build /out/ /"], "more than the built files is copied into the image")
    for name in ("title", "description", "licenses", "version", "revision"):
        expect(any(f"org.opencontainers.image.{name}=" in rest for word, rest in last if word == "LABEL"), f"the image has no label {name}")
    expect("created" not in " ".join(rest for word, rest in last if word == "LABEL"), "a label changes with every build")
    for word, rest in steps:
        expect(word != "ADD", "ADD fetches and unpacks: use COPY")
        if word == "COPY" and "--from=" not in rest:
            for source in rest.split()[:-1]:
                expect(bool(list(ROOT.glob(source))) if source != "." else True, f"COPY of {source}, which is not there")


def ignored(path: str, patterns: list[str]) -> bool:
    """Docker's rules: the last pattern that matches the path or a folder above it decides."""
    above = [path, *(str(p) for p in Path(path).parents if str(p) != ".")]
    result = False
    for pattern in patterns:
        negated, bare = pattern.startswith("!"), pattern.lstrip("!").strip("/")
        regex = re.escape(bare).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        if any(re.fullmatch(regex, p) for p in above):
            result = not negated
    return result


def check_context() -> None:
    patterns = [line for line in IGNORE.read_text().splitlines() if line and not line.startswith("#")]
    for path in PRIVATE:
        expect(ignored(path, patterns), f"{path} would reach the builder")
    for pattern in patterns:
        if pattern.startswith("!"):
            expect((ROOT / pattern[1:]).exists(), f"the context lets in {pattern[1:]}, which is not there")
    members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
    needed = [f"{member}/{file}" for member in members for file in ("Cargo.toml", "src/lib.rs")]
    needed += ["Cargo.toml", "Cargo.lock", "Makefile", "LICENSE", "proto/syncline/run/v1/run.proto"]
    # What `make sbom` and the Dockerfile itself call.
    needed += re.findall(r"deploy/\S+\.(?:py|sh)", targets().get("sbom", "") + DOCKERFILE.read_text())
    for path in needed:
        expect(not ignored(path, patterns), f"{path} does not reach the builder")


def keys_of(service: dict) -> set[str]:
    return {entry if isinstance(entry, str) else entry["source"] for entry in service.get("secrets", [])}


def check_compose() -> None:
    compose = yaml.safe_load(COMPOSE.read_text())
    ports, facts = chart.source_ports(), chart_services()
    known = chart.source_variables(list(ports))
    ours = {name: s for name, s in compose["services"].items() if s.get("profiles") == ["syncline"]}
    expect(ours.keys() == ports.keys() | {"migrate"}, f"the profile runs {sorted(ours)}, the services are {sorted(ports)}")
    expect(compose["services"].keys() - ours.keys() == {"nats", "postgres"}, "something else than the servers runs without the profile")
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            expect(str(port).startswith("127.0.0.1:"), f"{name}: is published beyond loopback")
    if problems:
        return
    for name, service in ours.items():
        expect(service["image"] == "${SYNCLINE_IMAGE:-syncline:local}", f"{name}: runs another image")
        expect(service["pull_policy"] == "never", f"{name}: may run a stranger's image")
        expect(service["user"] == f"${{SYNCLINE_USER:-{chart_user()}}}", f"{name}: does not run as the chart's user")
        expect(service["read_only"] is True, f"{name}: may write to its image")
        expect(service["cap_drop"] == ["ALL"] and "cap_add" not in service, f"{name}: keeps capabilities")
        expect(service["security_opt"] == ["no-new-privileges:true"], f"{name}: may gain privileges")
        forbidden = {"privileged", "network_mode", "pid", "ipc", "volumes", "devices", "entrypoint"} & service.keys()
        expect(not forbidden, f"{name}: has {sorted(forbidden)}")
        environment = service["environment"]
        for variable in environment:
            expect(variable in known, f"{name}: no service reads {variable}")
        expect(environment["SYNCLINE_NATS_URL"].endswith("@nats:4222"), f"{name}: looks for NATS elsewhere")
        expect("@postgres:5432/" in environment["SYNCLINE_DATABASE_URL"], f"{name}: looks for PostgreSQL elsewhere")
    migrate = ours["migrate"]
    expect(migrate["command"] == ["migrate"], "migrate: runs something else")
    healthy = {"condition": "service_healthy"}
    expect(migrate["depends_on"] == {"nats": healthy, "postgres": healthy}, "migrate: does not wait for its servers")
    expect("restart" not in migrate, "migrate: runs again and again")
    for name, port in ports.items():
        service, environment = ours[name], ours[name]["environment"]
        expect(service["command"] == ["serve", name], f"{name}: runs {service['command']}")
        expect(environment["SYNCLINE_LISTEN"] == f"0.0.0.0:{port}", f"{name}: listens elsewhere than at {port}")
        expect(environment["SYNCLINE_MIGRATE"] == "never", f"{name}: migrates beside the one that does")
        expect(service["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}, f"{name}: does not wait for the schema")
        for peer, its in ports.items():
            variable = f"SYNCLINE_{peer.upper()}_URL"
            expect(environment.get(variable) == f"http://{peer}:{its}", f"{name}: {variable} is not {peer}'s address")
        expect(keys_of(service) == set(facts[name]["keys"]), f"{name}: gets the keys {sorted(keys_of(service))}, the chart gives {facts[name]['keys']}")
        expect(not any(v.startswith("SYNCLINE_KEY_") for v in environment), f"{name}: a key stands in its environment")
        expect(environment["SYNCLINE_KEYS_DIR"] == "/run/secrets", f"{name}: looks for keys elsewhere")
        probe = ["CMD", "/usr/local/bin/syncline", "health", f"http://127.0.0.1:{port}"]
        expect(service["healthcheck"]["test"] == probe, f"{name}: its health is asked of something else")
        expect(("ports" in service) == (name == "gateway"), f"{name}: {'is' if 'ports' in service else 'is not'} published")
    gateway = ours["gateway"]["environment"]
    for name, service in ours.items():
        for variable in ("SYNCLINE_GATEWAY_TOKEN", "SYNCLINE_GATEWAY_PLAINTEXT"):
            expect((variable in service["environment"]) == (name == "gateway"), f"{name}: {variable} is for the gateway, and only for it")
    # A token in the file would be everybody's; a required one would stop those who only want the servers.
    expect(gateway.get("SYNCLINE_GATEWAY_TOKEN") == "${SYNCLINE_GATEWAY_TOKEN:-}", "gateway: its token does not come from outside")
    expect(compose["secrets"].keys() == chart.key_names(), "the secrets are not the runtime's keys")
    for name, secret in compose["secrets"].items():
        expect(secret == {"file": f"${{SYNCLINE_COMPOSE_KEYS:-../.local/compose/keys}}/{name}"}, f"{name}: the secret is another file")


def check_sbom(path: Path) -> None:
    from license_expression import get_spdx_licensing

    bom = json.loads(path.read_text())
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(p["name"], p["version"]): p.get("checksum") for p in lock}
    spdx = get_spdx_licensing()
    listed = {(c["name"], c["version"]): c for c in bom["components"] if c["name"] != "rust-std"}
    for (name, version), component in listed.items():
        expect((name, version) in sums, f"{name} {version} is not in Cargo.lock")
        checksum = sums.get((name, version))
        expect([h["content"] for h in component.get("hashes", [])] == [checksum] * bool(checksum), f"{name}: another checksum than Cargo.lock's")
        expect(("purl" in component) == bool(checksum), f"{name}: a package URL is for crates of a registry, and for each of them")
        (licence,) = component["licenses"]
        faults = spdx.validate(licence["expression"]).errors
        expect(not faults, f"{name}: {faults}")
    ours = {p["name"] for p in lock if "source" not in p}
    test_only = {"syncline-testkit", "syncline-test-support", "syncline-salesforce-simulator", "proptest", "tempfile", "tonic-prost-build"}
    names = {name for name, _ in listed}
    expect(not names & test_only, f"tests and builds are no part of the program: {sorted(names & test_only)}")
    services = {f"syncline-{service}" for service in chart.source_ports()}
    expect(services <= names & ours, f"not listed: {sorted(services - names)}")
    for crate in ("tokio", "ring", "rustls", "sqlx", "async-nats", "arrow-array", "mimalloc", "zstd-sys"):
        expect(crate in names, f"{crate} is not listed")
    references = {c["bom-ref"] for c in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
    graph = {entry["ref"]: entry["dependsOn"] for entry in bom["dependencies"]}
    expect(graph.keys() == references, f"the graph is about others: {sorted(graph.keys() ^ references)}")
    reached, left = set(), ["syncline"]
    while left:
        ref = left.pop()
        if ref not in reached:
            reached.add(ref)
            left += graph.get(ref, [])
    expect(reached == references, f"nothing leads to, or nothing is at: {sorted(reached ^ references)}")


def main() -> int:
    check_dockerfile()
    check_context()
    check_compose()
    for path in sys.argv[1:]:
        check_sbom(Path(path))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
