#!/usr/bin/env python3
"""Writes the bill of materials (CycloneDX 1.6, JSON) of the program `syncline` that `make binary` builds on this machine.

    sbom.py FILE                      what goes into the program: crates, their licences, checksums and dependencies
    sbom.py FILE --covers PROGRAM     instead: every crate that a built program mentions stands in FILE

The crates are those that cargo links into the program, with the features that this build asks for: `cargo tree` of the
package, without build and test dependencies and without procedural macros, which run while it is built. Licences come
from `cargo metadata`, checksums from Cargo.lock. Rust's own library is one entry. C code that a crate brings along
(zstd-sys, ring, libmimalloc-sys) is part of that crate; glibc and libgcc_s belong to the image's base.

The same sources give the same bytes: nothing is random, and the time is SOURCE_DATE_EPOCH or left out. Crates of this
repository have no package URL: they are on no registry, and a stranger's crate of that name must not be taken for them.

Why not cargo-cyclonedx: it would be compiled inside every image build and every fresh CI machine, some hundreds of crates
for a file that cargo itself knows all of. What it would be trusted for is checked instead (.ci/image): the schema, every
checksum, and that a built program mentions no crate that is missing here.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "syncline-cli"
PROGRAM = "syncline"
# What `cargo tree --prefix depth` prints: depth, name, version, then a path or a repeated subtree's mark.
LINE = re.compile(r"^(\d+) (\S+) v(\S+)(?: \(.*\))?$")


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def compiler() -> dict[str, str]:
    """What `rustc -vV` says, such as `host` and `release`."""
    return dict(line.split(": ", 1) for line in run("rustc", "-vV").splitlines() if ": " in line)


def linked(target: str) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Every linked crate by name and version, with the crates it depends on."""
    tree = run(
        *("cargo", "tree", "--locked", "--package", PACKAGE, "--target", target),
        *("--edges", "normal,no-proc-macro", "--prefix", "depth", "--format", " {p}"),
    )
    edges: dict[tuple[str, str], set[tuple[str, str]]] = {}
    above: list[tuple[str, str]] = []
    for line in tree.splitlines():
        parts = LINE.match(line)
        if parts is None:
            sys.exit(f"cargo tree says what is not understood: {line}")
        depth, crate = int(parts[1]), (parts[2], parts[3])
        edges.setdefault(crate, set())
        del above[depth:]
        if above:
            edges[above[-1]].add(crate)
        above.append(crate)
    return edges


def packages(target: str) -> dict[tuple[str, str], dict]:
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target))
    found: dict[tuple[str, str], dict] = {}
    for package in metadata["packages"]:
        crate = package["name"], package["version"]
        if crate in found:
            sys.exit(f"{crate} comes from two sources: they would be one entry")
        found[crate] = package
    return found


def checksums() -> dict[tuple[str, str], str]:
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}


def purl(crate: tuple[str, str]) -> str:
    name, version = crate
    return f"pkg:cargo/{name}@{version.replace('+', '%2B')}"


def reference(crate: tuple[str, str], package: dict) -> str:
    return purl(crate) if package["source"] else f"{crate[0]}@{crate[1]}"


def licences(package: dict) -> list[dict]:
    # Before SPDX expressions, a slash meant "or".
    return [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}] if package["license"] else []


def component(crate: tuple[str, str], package: dict, checksum: str | None) -> dict:
    name, version = crate
    entry = {"type": "library", "bom-ref": reference(crate, package), "name": name, "version": version, "scope": "required"}
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    entry["licenses"] = licences(package)
    if package["source"]:
        entry["purl"] = purl(crate)
    return entry


def bill() -> dict:
    rust = compiler()
    edges, known, sums = linked(rust["host"]), packages(rust["host"]), checksums()
    (program,) = (crate for crate in edges if crate[0] == PACKAGE)
    library = f"rust-std@{rust['release']}"
    crates = sorted(crate for crate in edges if crate != program)
    components = [component(crate, known[crate], sums.get(crate)) for crate in crates]
    components.append(
        {
            "type": "library",
            "bom-ref": library,
            "name": "rust-std",
            "version": rust["release"],
            "description": "Rust's standard library with the crates it is made of",
            "scope": "required",
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
            "purl": f"pkg:generic/rust-std@{rust['release']}",
        }
    )
    main = {
        "type": "application",
        "bom-ref": PROGRAM,
        "name": PROGRAM,
        "version": program[1],
        "licenses": licences(known[program]),
        "properties": [{"name": "syncline:target", "value": rust["host"]}],
    }
    names = {crate: reference(crate, known[crate]) for crate in crates} | {program: PROGRAM}
    depends = [{"ref": names[crate], "dependsOn": sorted(names[on] for on in edges[crate])} for crate in edges]
    for entry in depends:
        entry["dependsOn"] += [library] if entry["ref"] == PROGRAM else []
    metadata: dict = {"component": main}
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        time = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
        metadata = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"), **metadata}
    content = {
        "metadata": metadata,
        "components": components,
        "dependencies": sorted([*depends, {"ref": library, "dependsOn": []}], key=lambda entry: entry["ref"]),
    }
    # Another content has another serial number, the same has the same.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1, **content}


def covers(bom: dict, program: Path) -> None:
    """Messages of panics hold the paths of the crates they come from: a witness that has not read Cargo.lock."""
    mentioned = {m.decode() for m in re.findall(rb"registry/src/[^/\0]+/([A-Za-z0-9_.+-]+)(?=[/\0])", program.read_bytes())}
    listed = {f"{c['name']}-{c['version']}" for c in bom["components"]}
    if len(mentioned) < 20:
        sys.exit(f"{program} mentions only {len(mentioned)} crates: it is no witness")
    if missing := sorted(mentioned - listed):
        sys.exit(f"{program} holds what the bill of materials does not: {', '.join(missing)}")
    print(f"{len(mentioned)} crates that the program mentions are among the {len(listed)} of the bill of materials")


def main() -> None:
    match sys.argv[1:]:
        case [file]:
            text = json.dumps(bill(), indent=1, ensure_ascii=False) + "\n"
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(text)
        case [file, "--covers", program]:
            covers(json.loads(Path(file).read_text()), Path(program))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
