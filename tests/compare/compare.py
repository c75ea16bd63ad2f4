#!/usr/bin/env python3
"""Compares two Salesforce orgs after a masked refresh, over plain REST and by nothing else.

It knows nothing of Syncline: not its ledger, its report, nor its code. It reads both orgs record by record, pairs the
records by keys or by content, and checks that

  * every object has the same records on both sides, equal in every unmasked field, and no field that holds values in the
    source and could be written in the target is left out of the specification,
  * every reference points to the counterpart of what it pointed to, owners and record types by name,
  * no record keeps its own value in a masked field, and what is redacted is empty,
  * no e-mail, phone number or identifier of the source stands anywhere in the target's text, nor (--scan-dir) in the
    files of the message bus, the database, or the logs.

Exit code 0: equal and clean. 1: differences, listed by object, field and ids, never by value. 2: could not compare.

    compare.py --source-url URL --source-token T --target-url URL --target-token T [--spec demo.json] [--scan-dir DIR]...
    compare.py --env-file .local/demo.env --scan-dir .local/nats ...

Tokens are better given as SOURCE_TOKEN and TARGET_TOKEN in the environment. Python 3.11, standard library only.
"""

import argparse
import concurrent.futures
import contextlib
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from leaks import Originals, scan_files  # noqa: E402
from org import Org, OrgError  # noqa: E402
from records import Differences, Side, Spec, SpecError, compare_object  # noqa: E402

PARALLEL_QUERIES = 4
SHOWN_PER_KIND = 10
SAMPLED_FOR_FIELDS = 2000
TEXTUAL = {"string", "textarea", "email", "phone", "url", "picklist", "multipicklist", "combobox", "encryptedstring"}
COMPOUND = {"address", "location"}


def arguments(argv):
    parser = argparse.ArgumentParser(description="Compare two orgs over plain REST.")
    parser.add_argument("--source-url")
    parser.add_argument("--source-token")
    parser.add_argument("--target-url")
    parser.add_argument("--target-token")
    parser.add_argument("--env-file", help="reads PROD_URL, PROD_TOKEN, SANDBOX_URL, SANDBOX_TOKEN from it")
    parser.add_argument("--spec", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo.json"))
    parser.add_argument("--scan-dir", action="append", default=[], metavar="PATH", help="a directory or file to scan")
    parser.add_argument("--shown", type=int, default=SHOWN_PER_KIND, help="differences listed per kind and field")
    given = parser.parse_args(argv)
    env = {}
    if given.env_file:
        with open(given.env_file, encoding="utf-8") as file:
            for line in file:
                name, found, value = line.strip().removeprefix("export ").partition("=")
                if found:
                    env[name] = value.strip("'\"")
    for option, variable, demo in (
        ("source_url", "SOURCE_URL", "PROD_URL"),
        ("source_token", "SOURCE_TOKEN", "PROD_TOKEN"),
        ("target_url", "TARGET_URL", "SANDBOX_URL"),
        ("target_token", "TARGET_TOKEN", "SANDBOX_TOKEN"),
    ):
        value = getattr(given, option) or env.get(demo) or os.environ.get(variable)
        if not value:
            parser.error(f"--{option.replace('_', '-')} is missing")
        setattr(given, option, value)
    return given


def read_both(spec, source, target):
    """Reads both orgs, a few queries at a time: ((records, names) of the source, the same of the target), and
    [(object, field)] that hold values but stand in no list of the specification."""
    with concurrent.futures.ThreadPoolExecutor(PARALLEL_QUERIES) as pool:
        described = {(org, entry.name): pool.submit(org.fields, entry.name) for entry in spec.objects for org in (source, target)}
        jobs, samples = {}, {}
        for entry in spec.objects:
            there = described[target, entry.name].result()
            textual = [field["name"] for field in there if field["type"] in TEXTUAL]
            scanned = list(dict.fromkeys([*entry.fields, *textual]))
            writable = {field["name"] for field in there if field.get("createable") or field.get("updateable")}
            candidates = [
                field["name"]
                for field in described[source, entry.name].result()
                if field["name"] in writable and field["name"] not in entry.fields and field["type"] not in COMPOUND
            ]
            if candidates:
                soql = f"SELECT {', '.join(candidates)} FROM {entry.name}" + (f" WHERE {entry.where}" if entry.where else "")
                samples[entry.name] = candidates, pool.submit(
                    source.query, f"{soql} LIMIT {SAMPLED_FOR_FIELDS}", f"query {entry.name}"
                )
            for org, fields, where in ((source, entry.fields, entry.where), (target, scanned, None)):
                soql = f"SELECT {', '.join(fields)} FROM {entry.name}" + (f" WHERE {where}" if where else "")
                jobs[org, entry.name] = pool.submit(org.query, soql, f"query {entry.name}")
        for name, lookup in spec.lookups.items():
            for org in (source, target):
                for part in lookup:
                    jobs[org, name, part["object"]] = pool.submit(
                        org.query,
                        f"SELECT Id, {', '.join(part['by'])} FROM {part['object']}"
                        + (f" WHERE {part['where']}" if "where" in part else ""),
                        f"query {part['object']}",
                    )
        sides = []
        for org in (source, target):
            records = {entry.name: jobs[org, entry.name].result() for entry in spec.objects}
            names = {}
            for name, lookup in spec.lookups.items():
                names[name] = {
                    found["Id"][:15]: (part["object"], *(found.get(field) for field in part["by"]))
                    for part in lookup
                    for found in jobs[org, name, part["object"]].result()
                }
            sides.append((records, names))
        forgotten = [
            (name, field)
            for name, (candidates, sample) in samples.items()
            for field in candidates
            if any(record.get(field) not in (None, "", False) for record in sample.result())
        ]
        return sides, forgotten


def translation(spec, target_names):
    """Source names in the target's words: usernames get the sandbox's suffix, and a name that the target does not have
    becomes the lookup's declared default, if it has one."""

    def translate(lookup, name):
        for part in spec.lookups[lookup]:
            if part["object"] != name[0]:
                continue
            if part.get("suffix"):
                name = (name[0], *(value + spec.username_suffix for value in name[1:]))
            if "default" in part and name not in known[lookup]:
                name = (name[0], *part["default"])
        return name

    known = {lookup: set(names.values()) for lookup, names in target_names.items()}
    return translate


def originals_of(spec, records):
    originals = Originals()
    for entry in spec.objects:
        for field, kind in entry.classified.items():
            for record in records[entry.name]:
                originals.add(kind, record.get(field))
    return originals


def scan_target(spec, records, originals, differences):
    """Looks for originals in every text field of every target record."""
    texts = 0
    for entry in spec.objects:
        ids = {"Id", *entry.references, *entry.lookups}
        for record in records[entry.name]:
            fields = [(f, v) for f, v in record.items() if isinstance(v, str) and f not in ids]
            texts += len(fields)
            joined = "\n\0\n".join(value for _, value in fields)
            # Once over all of a record's text; field by field only to say where.
            if originals.whole or originals.in_text(joined):
                for field, value in fields:
                    for kind in originals.in_text(value):
                        differences.add(f"source {kind} in target", entry.name, field, target=record["Id"])
    return texts


def print_table(rows):
    header = ["object", "source", "target", "paired", "values", "masked", "links", "outside", "differences"]
    lines = [header] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for number, line in enumerate(lines):
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))))
        if number == 0:
            print("  ".join("-" * w for w in widths))


def print_differences(differences, shown):
    groups = {}
    for kind, name, field, left, right in differences.found:
        groups.setdefault((kind, name, field), []).append((left, right))
    for (kind, name, field), places in sorted(groups.items()):
        print(f"\n{name}{'.' if field else ''}{field}: {kind}: {len(places)}")
        for left, right in places[:shown]:
            if left or right:
                print("   " + " ".join(f"{org} {found}" for org, found in (("source", left), ("target", right)) if found))
        if len(places) > shown:
            print(f"   and {len(places) - shown} more")


def compare(given):
    began = time.monotonic()
    spec = Spec(given.spec)
    source = Org("source", given.source_url, given.source_token, spec.version)
    target = Org("target", given.target_url, given.target_token, spec.version)
    with contextlib.closing(source), contextlib.closing(target):
        ((source_records, source_names), (target_records, target_names)), forgotten = read_both(spec, source, target)
    read = time.monotonic()

    differences = Differences()
    for name, field in forgotten:
        differences.add("holds values but is not compared", name, field)
    left = Side(spec, source_records, source_names, translation(spec, target_names))
    right = Side(spec, target_records, target_names, lambda _, name: name)
    rows = []
    for entry in spec.objects:
        before = len(differences.found)
        counts = compare_object(entry, left, right, differences)
        rows.append([entry.name, *counts.values(), len(differences.found) - before])

    originals = originals_of(spec, source_records)
    if not len(originals):
        differences.add("no classified value in the source: the scan would prove nothing", "leak scan")
    before = len(differences.found)
    texts = scan_target(spec, target_records, originals, differences)
    leaked = len(differences.found) - before
    files, size, hits = scan_files(originals, given.scan_dir)
    if given.scan_dir and not files:
        differences.add("no file in the given directories: the scan would prove nothing", "leak scan")

    print_table(rows)
    counted = ", ".join(f"{count} {kind}s" for kind, count in originals.counts.items())
    print(f"\nleak scan: {counted} of the source ({originals.too_short} too short to look for)")
    print(f"  in {texts} texts of the target: {leaked} found")
    if given.scan_dir:
        print(f"  in {files} files, {size / 1e6:.0f} MB: {sum(hits.values())} found")
    for (path, kind), count in sorted(hits.items()):
        differences.add(f"source {kind} {count} times in a file", path)
    print_differences(differences, given.shown)
    print(f"\nread in {read - began:.1f} s, compared and scanned in {time.monotonic() - read:.1f} s")
    print("DIFFERENT" if differences.found else "EQUAL: record for record and link for link, apart from masked fields; no leak")
    return 1 if differences.found else 0


def main(argv):
    given = arguments(argv)
    try:
        return compare(given)
    except (OrgError, SpecError, OSError, KeyError, ValueError) as error:
        # KeyError and ValueError: an answer or a specification of another shape. Their texts could hold a value.
        text = str(error) if isinstance(error, (OrgError, SpecError, OSError)) else type(error).__name__
        print(f"cannot compare: {text}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
