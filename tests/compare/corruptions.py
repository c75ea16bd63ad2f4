#!/usr/bin/env python3
"""Proves on a real refresh that the comparison can fail: corrupts the sandbox of a demo of its own, one way at a time.

Runs a small demo in a directory of its own, beside whatever else runs, and compares: it must pass. Then each corruption
is made at the simulated sandbox, past every rule of the org; the comparison must fail and must name the place; the
corruption is taken back, and in the end the comparison must pass again. Everything started is stopped.

SYNCLINE_BIN names the directory of the programs, SYNCLINE_DEMO_SCALE the size (2000). Exit code 0: every corruption
was found, and nothing else was. 1: not so. 2: the demo did not run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SCALE = "2000"
REQUEST_SECONDS = 30
DEMO_SECONDS = 300


class Org:
    """One simulated org: queries over REST, and changes past its rules."""

    def __init__(self, url, token):
        self.url, self.token = url, token

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def rows(self, soql):
        """The first page is enough to choose from."""
        found = self.call("GET", "/services/data/v65.0/query?" + urllib.parse.urlencode({"q": soql}))["records"]
        return [{name: value for name, value in row.items() if name != "attributes"} for row in found]

    def create(self, name, fields):
        self.call("POST", f"/services/data/v65.0/sobjects/{name}", fields)

    def edit(self, record, **fields):
        self.call("PATCH", f"/__sim/records/{record}", fields)

    def delete(self, record):
        self.call("DELETE", f"/__sim/records/{record}")

    def swap(self, one, field, other):
        self.call("POST", f"/__sim/records/{one}/swap/{field}/{other}")


def unequal(rows, field):
    """Two records that differ in a field."""
    return rows[0], next(row for row in rows if row[field] != rows[0][field])


def swapped(name, field):
    def corrupt(source, target, _):
        one, other = unequal(target.rows(f"SELECT Id, {field} FROM {name} WHERE {field} != null ORDER BY Id"), field)
        target.swap(one["Id"], field, other["Id"])
        return lambda: target.swap(one["Id"], field, other["Id"])

    return corrupt


def edited(name, field, value_of):
    """Sets one field of one record, known by its external id, from its original in the source."""

    def corrupt(source, target, _):
        original = source.rows(f"SELECT Ext_Id__c, {field} FROM {name} WHERE {field} != null ORDER BY Id LIMIT 1")[0]
        record = target.rows(f"SELECT Id, {field} FROM {name} WHERE Ext_Id__c = '{original['Ext_Id__c']}'")[0]
        target.edit(record["Id"], **{field: value_of(original[field])})
        return lambda: target.edit(record["Id"], **{field: record[field]})

    return corrupt


def lost_child(source, target, _):
    fields = "OpportunityId, ContactId, Role, IsPrimary"
    child = target.rows(f"SELECT Id, {fields} FROM OpportunityContactRole ORDER BY Id LIMIT 1")[0]
    target.delete(child.pop("Id"))
    return lambda: target.create("OpportunityContactRole", child)


def email_in_a_text(source, target, _):
    email = source.rows("SELECT Email FROM Lead WHERE Email != null LIMIT 1")[0]["Email"]
    project = target.rows("SELECT Id, Name FROM Product2 ORDER BY Id LIMIT 1")[0]
    target.edit(project["Id"], Name=f"{project['Name']} ({email.upper()})")
    return lambda: target.edit(project["Id"], Name=project["Name"])


def email_in_a_log(source, target, home):
    email = source.rows("SELECT Email FROM Contact WHERE Email != null LIMIT 1")[0]["Email"]
    path = os.path.join(home, ".local", "log", "seeded.log")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"could not write <{email}>\n")
    return lambda: os.remove(path)


# What is done, how, and what the comparison must say about it.
CORRUPTIONS = [
    ("a swapped parent", swapped("Contact", "AccountId"), r"^Contact\.AccountId: link differs: 2$"),
    ("a swapped parent of its own kind", swapped("Account", "ParentId"), r"^Account\.ParentId: link differs: 2$"),
    ("a swapped link of records without a key", swapped("Task", "WhoId"), r"^Task: missing in target: 2$"),
    ("a swapped owner", swapped("Account", "OwnerId"), r"^Account\.OwnerId: name differs: 2$"),
    ("a swapped record type", swapped("Account", "RecordTypeId"), r"^Account\.RecordTypeId: name differs: 2$"),
    ("a lost child", lost_child, r"^OpportunityContactRole: missing in target: 1$"),
    ("one unmasked phone", edited("Contact", "Phone", str), r"^Contact\.Phone: keeps its own value: 1$"),
    (
        "one unmasked phone, written in another way",
        edited("Contact", "Phone", lambda value: " ".join(re.sub(r"\D", "", value))),
        r"^Contact\.Phone: source number in target: 1$",
    ),
    ("one unmasked name", edited("Lead", "LastName", str), r"^Lead\.LastName: keeps its own value: 1$"),
    ("a text that should be gone", edited("Case", "Subject", str), r"^Case\.Subject: not redacted: 1$"),
    ("a changed number", edited("Account", "NumberOfEmployees", lambda n: n + 1), r"^Account\.NumberOfEmployees: value differs: 1$"),
    ("an e-mail inside a text", email_in_a_text, r"^Product2\.Name: source email in target: 1$"),
    ("an e-mail in a log", email_in_a_log, r"seeded\.log: source email 1 times in a file: 1$"),
]


def environment():
    """The demo's: private servers, whatever servers the caller's environment names."""
    given = {name: value for name, value in os.environ.items() if name not in ("SYNCLINE_NATS_URL", "SYNCLINE_DATABASE_URL")}
    given.setdefault("SYNCLINE_DEMO_SCALE", SCALE)
    return given


def compared(home, files):
    """Compares as `make compare` does; without the files, only what is in the orgs."""
    command = ["deploy/local/compare.sh"] if files else [sys.executable, "tests/compare/compare.py", "--env-file", ".local/demo.env"]
    done = subprocess.run([*command, "--shown", "1"], cwd=home, env=environment(), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def demo(home):
    for part in ("deploy", os.path.join("tests", "compare")):
        shutil.copytree(os.path.join(ROOT, part), os.path.join(home, part), ignore=shutil.ignore_patterns("__pycache__"))
    path = os.path.join(home, "demo.log")
    with open(path, "w+", encoding="utf-8") as output:
        try:
            code = subprocess.run(
                ["deploy/local/demo.sh"], cwd=home, env=environment(), stdout=output, stderr=output, timeout=DEMO_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = f"none within {DEMO_SECONDS} s"
        if code != 0:
            output.seek(0)
            print("".join(output.readlines()[-30:]), f"the demo did not run: exit code {code}", sep="", file=sys.stderr)
            return None
    with open(os.path.join(home, ".local", "demo.env"), encoding="utf-8") as file:
        found = dict(line.strip().split("=", 1) for line in file)
    found = {name: value.strip("'") for name, value in found.items()}
    return Org(found["PROD_URL"], found["PROD_TOKEN"]), Org(found["SANDBOX_URL"], found["SANDBOX_TOKEN"])


def prove(home):
    orgs = demo(home)
    if orgs is None:
        return 2
    failures = 0

    def verdict(name, passed, text):
        nonlocal failures
        print(f"{'ok    ' if passed else 'FAILED'}  {name}", flush=True)
        if not passed:
            failures += 1
            print("\n".join("        " + line for line in text.splitlines()))

    code, text = compared(home, files=True)
    verdict("the refreshed sandbox is equal", code == 0, text)
    for name, corrupt, wanted in CORRUPTIONS if code == 0 else []:
        restore = corrupt(*orgs, home)
        code, text = compared(home, files=corrupt is email_in_a_log)
        restore()
        verdict(f"{name} is found", code == 1 and re.search(wanted, text, re.MULTILINE) is not None, text)
    code, text = compared(home, files=True)
    verdict("with all of it taken back, the sandbox is equal", code == 0, text)
    return 1 if failures else 0


def main():
    began = time.monotonic()
    local = os.path.join(ROOT, ".local")
    os.makedirs(local, exist_ok=True)
    home = tempfile.mkdtemp(prefix="corruptions.", dir=local)
    os.chmod(home, 0o755)  # PostgreSQL may run as another user
    try:
        code = prove(home)
    finally:
        # The scripts stop what they started, and only that.
        for command in (["deploy/local/down.sh"], ["deploy/local/servers.sh", "wipe", ".local"]):
            if os.path.exists(os.path.join(home, command[0])):
                subprocess.run(command, cwd=home, env=environment(), stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(home)
    print(f"{len(CORRUPTIONS)} corruptions in {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
