"""sfdmu, the Salesforce CLI's plugin for moving records between orgs and files: orgs by token in export.json, as in its manual."""

import csv
import json
from pathlib import Path

from judge import Judge, difference
from sf_command import Cli

API = "/services/data/v65.0"
BULK_THRESHOLD = 40

judge = Judge()
source, target = judge.org("source"), judge.org("target")
cli = Cli(judge.tools)

ACCOUNTS = {"query": "SELECT Id, Name, Ext_Id__c, Industry FROM Account WHERE Ext_Id__c LIKE 'ACC-00000%'", "operation": "Upsert", "externalId": "Ext_Id__c"}
CONTACTS = {
    "query": "SELECT Id, LastName, FirstName, Email, Ext_Id__c, AccountId FROM Contact WHERE Account.Ext_Id__c LIKE 'ACC-00000%'",
    "operation": "Upsert",
    "externalId": "Ext_Id__c",
}


def package(folder, objects, more):
    Path(folder).mkdir(exist_ok=True)
    orgs = [{"name": name, "instanceUrl": org.https_url, "accessToken": org.token} for name, org in (("from", source), ("into", target))]
    settings = {"apiVersion": "60.0", "promptOnMissingParentObjects": False, "promptOnIssuesInCSVFiles": False, "pollingIntervalMs": 500}
    Path(folder, "export.json").write_text(json.dumps({"orgs": orgs, "objects": objects, **settings, **more}))


def move(folder, objects, origin="from", destination="into", **more):
    """Runs the package; what it said."""
    package(folder, objects, more)
    done = cli.run("sfdmu", "run", "--sourceusername", origin, "--targetusername", destination, "--noprompt", "--path", folder, "--verbose")
    assert done.returncode == 0, (done.stdout + done.stderr)[-1200:]
    return done.stdout


def written():
    return target.call("GET", "/__sim/requests")


def requests_of(path, before, after):
    """How many requests of that path came between two reports."""
    return sum(count - before["requests"].get(name, 0) for name, count in after["requests"].items() if path in name)


def by_key(rows, *fields):
    return {row["Ext_Id__c"]: {name: row[name] for name in fields} for row in rows}


def arrived(name, wanted):
    """The target holds these records, by their external ids."""
    target.holds(name, wanted, key="Ext_Id__c")
    return f"{len(wanted)} of {name}"


def read_csv(path):
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def write_csv(path, rows):
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@judge.capability("upsert-rest")
def _():
    move("upsert", [ACCOUNTS])
    return arrived("Account", by_key(source.rows(ACCOUNTS["query"]), "Name", "Industry"))


@judge.capability("children-find-their-parents")
def _():
    move("children", [ACCOUNTS, CONTACTS])
    wanted = source.rows(CONTACTS["query"].replace("AccountId", "AccountId, Account.Ext_Id__c"))
    parents = {row["Ext_Id__c"]: row["Id"] for row in target.rows("SELECT Id, Ext_Id__c FROM Account")}
    expected = by_key(wanted, "LastName", "FirstName", "Email")
    for row in wanted:
        expected[row["Ext_Id__c"]]["AccountId"] = parents[row["Account.Ext_Id__c"]]
    return arrived("Contact", expected)


@judge.capability("only-differences")
def _():
    changed, *others = source.rows(ACCOUNTS["query"])
    source.call("PATCH", f"{API}/sobjects/Account/{changed['Id']}", {"Industry": "Media"})
    before = written()["writes"]
    move("upsert", [ACCOUNTS])
    assert written()["writes"] - before == 1, f"{written()['writes'] - before} records written"
    wanted = by_key(others, "Name", "Industry") | {changed["Ext_Id__c"]: {"Name": changed["Name"], "Industry": "Media"}}
    return f"one written; {arrived('Account', wanted)}"


@judge.capability("self-reference")
def _():
    parent = source.call("POST", f"{API}/sobjects/Account", {"Name": "holding", "Ext_Id__c": "DM-P"})["id"]
    source.call("POST", f"{API}/sobjects/Account", {"Name": "daughter", "Ext_Id__c": "DM-D", "ParentId": parent})
    move("self", [{"query": "SELECT Id, Name, Ext_Id__c, ParentId FROM Account WHERE Ext_Id__c IN ('DM-P','DM-D')", "operation": "Upsert", "externalId": "Ext_Id__c"}])
    own = target.rows("SELECT Id FROM Account WHERE Ext_Id__c = 'DM-P'")[0]["Id"]
    return arrived("Account", {"DM-P": {"Name": "holding", "ParentId": None}, "DM-D": {"Name": "daughter", "ParentId": own}})


def bulk(version, mark, path):
    query = f"SELECT Id, Name, Ext_Id__c, AnnualRevenue FROM Account WHERE Ext_Id__c LIKE 'ACC-000{mark}%'"
    before = written()
    move(f"bulk{mark}", [{"query": query, "operation": "Insert", "externalId": "Ext_Id__c"}], bulkThreshold=BULK_THRESHOLD, bulkApiVersion=version)
    rows = source.rows(query)
    assert len(rows) > BULK_THRESHOLD and requests_of(path, before, written()) > 0, f"{len(rows)} rows, not by {path}"
    return arrived("Account", by_key(rows, "Name", "AnnualRevenue"))


@judge.capability("insert-bulk2")
def _():
    return bulk("2.0", 1, "/jobs/ingest")


@judge.capability("insert-bulk1")
def _():
    return bulk("1.0", 2, "/services/async/")


@judge.capability("update")
def _():
    rows = source.rows("SELECT Id, Ext_Id__c FROM Account WHERE Ext_Id__c LIKE 'ACC-0001%'")
    body = {"allOrNone": True, "records": [{"attributes": {"type": "Account"}, "id": row["Id"], "Site": f"site {n}"} for n, row in enumerate(rows)]}
    source.call("PATCH", f"{API}/composite/sobjects", body)
    query = "SELECT Id, Ext_Id__c, Site FROM Account WHERE Ext_Id__c LIKE 'ACC-000%'"
    before = target.count("Account")
    move("update", [{"query": query, "operation": "Update", "externalId": "Ext_Id__c"}], bulkThreshold=BULK_THRESHOLD, bulkApiVersion="2.0")
    assert target.count("Account") == before
    return arrived("Account", {row["Ext_Id__c"]: {"Site": f"site {n}"} for n, row in enumerate(rows)})


@judge.capability("composite-key")
def _():
    for n in range(3):
        source.call("POST", f"{API}/sobjects/Contact", {"FirstName": "Key", "LastName": f"Person {n}", "Title": f"title {n}", "Ext_Id__c": f"DM-K{n}"})
    for n, title in ((0, "old"), (2, "title 2")):
        target.call("POST", f"{API}/sobjects/Contact", {"FirstName": "Key", "LastName": f"Person {n}", "Title": title, "Ext_Id__c": f"DM-K{n}"})
    query = "SELECT Id, FirstName, LastName, Title, Ext_Id__c FROM Contact WHERE FirstName = 'Key'"
    move("key", [{"query": query, "operation": "Upsert", "externalId": "FirstName;LastName"}])
    assert target.count("Contact WHERE FirstName = 'Key'") == 3
    return arrived("Contact", {f"DM-K{n}": {"Title": f"title {n}", "LastName": f"Person {n}"} for n in range(3)})


@judge.capability("record-types")
def _():
    query = "SELECT Id, Name, Ext_Id__c, RecordTypeId FROM Account WHERE Ext_Id__c LIKE 'ACC-00000%'"
    wanted = source.rows(query.replace("RecordTypeId", "RecordType.DeveloperName"))
    assert len({row["RecordType.DeveloperName"] for row in wanted}) > 1, wanted
    move("types", [{"query": query, "operation": "Upsert", "externalId": "Ext_Id__c"}])
    own = {row["DeveloperName"]: row["Id"] for row in target.rows("SELECT Id, DeveloperName FROM RecordType WHERE SobjectType = 'Account'")}
    return arrived("Account", {row["Ext_Id__c"]: {"Name": row["Name"], "RecordTypeId": own[row["RecordType.DeveloperName"]]} for row in wanted})


@judge.capability("export-csv")
def _():
    query = "SELECT Id, Name, Ext_Id__c, Industry FROM Account WHERE Industry = 'Banking'"
    wanted = {row["Ext_Id__c"]: row for row in source.truth(query)}
    move("files", [{"query": query, "operation": "Insert", "externalId": "Ext_Id__c"}], destination="csvfile")
    found = {row["Ext_Id__c"]: row for row in read_csv("files/Account.csv")}
    assert found.keys() == wanted.keys(), f"{len(found)} rows, not {len(wanted)}"
    for key, row in wanted.items():
        has = {name: found[key][name] for name in ("Name", "Industry")}
        expected = {name: row[name] for name in has}
        assert has == expected, f"{key}: {difference(expected, has)}"
    return f"{len(found)} rows"


@judge.capability("import-csv")
def _():
    Path("load").mkdir()
    write_csv("load/Account.csv", [{"Name": f"from a file, {n}", "Ext_Id__c": f"DM-F{n}", "Industry": "Energy"} for n in range(5)])
    write_csv("load/Contact.csv", [{"LastName": f"file {n}", "Ext_Id__c": f"DM-F{n}", "Account.Ext_Id__c": f"DM-F{n}"} for n in range(5)])
    objects = [
        {"query": "SELECT Name, Ext_Id__c, Industry FROM Account", "operation": "Upsert", "externalId": "Ext_Id__c"},
        {"query": "SELECT LastName, Ext_Id__c, AccountId FROM Contact", "operation": "Upsert", "externalId": "Ext_Id__c"},
    ]
    move("load", objects, origin="csvfile")
    parents = {row["Ext_Id__c"]: row["Id"] for row in target.rows("SELECT Id, Ext_Id__c FROM Account WHERE Ext_Id__c LIKE 'DM-F%'")}
    said = arrived("Account", {f"DM-F{n}": {"Name": f"from a file, {n}", "Industry": "Energy"} for n in range(5)})
    return f"{said}, {arrived('Contact', {f'DM-F{n}': {'LastName': f'file {n}', 'AccountId': parents[f'DM-F{n}']} for n in range(5)})}"


@judge.capability("delete-old-data")
def _():
    keep = target.call("POST", f"{API}/sobjects/Lead", {"LastName": "kept", "Company": "c", "Ext_Id__c": "DM-L9"})["id"]
    gone = target.call("POST", f"{API}/sobjects/Lead", {"LastName": "gone", "Company": "old", "Ext_Id__c": "DM-L8"})["id"]
    source.call("POST", f"{API}/sobjects/Lead", {"LastName": "new", "Company": "new", "Ext_Id__c": "DM-L1"})
    move(
        "old",
        [
            {
                "query": "SELECT Id, LastName, Company, Ext_Id__c FROM Lead WHERE Ext_Id__c = 'DM-L1'",
                "operation": "Insert",
                "externalId": "Ext_Id__c",
                "deleteOldData": True,
                "deleteQuery": "SELECT Id FROM Lead WHERE Company = 'old'",
            }
        ],
    )
    target.holds("Lead", {gone: None, keep: {"LastName": "kept"}})
    return f"one deleted, one kept; {arrived('Lead', {'DM-L1': {'LastName': 'new', 'Company': 'new'}})}"


@judge.capability("failed-rows")
def _():
    target.call("POST", "/__sim/validation-rules", ["Lead: Company = 'bad' => no such company"])
    try:
        for n, company in enumerate(("good", "bad")):
            source.call("POST", f"{API}/sobjects/Lead", {"LastName": "rule", "Company": company, "Ext_Id__c": f"DM-V{n}"})
        query = "SELECT Id, LastName, Company, Ext_Id__c FROM Lead WHERE Ext_Id__c LIKE 'DM-V%'"
        move("rule", [{"query": query, "operation": "Upsert", "externalId": "Ext_Id__c"}])
    finally:
        target.call("POST", "/__sim/validation-rules", [])
    errors = {row["Ext_Id__c"]: row["Errors"] for row in read_csv("rule/target/Lead_insert_target.csv")}
    assert errors["DM-V0"] == "" and "no such company" in errors["DM-V1"], errors
    target.holds("Lead", {"DM-V0": {"Company": "good"}, "DM-V1": None}, key="Ext_Id__c")
    return errors["DM-V1"]


@judge.capability("login-refused")
def _():
    package("stranger", [ACCOUNTS], {})
    settings = json.loads(Path("stranger/export.json").read_text())
    settings["orgs"][1]["accessToken"] = f"{target.org_id[:15]}!no.session"
    Path("stranger/export.json").write_text(json.dumps(settings))
    before = written()["writes"]
    done = cli.run("sfdmu", "run", "--sourceusername", "from", "--targetusername", "into", "--noprompt", "--path", "stranger")
    assert done.returncode != 0 and written()["writes"] == before, done.stdout[-500:]
    return f"exit code {done.returncode}"


@judge.capability("unknown-field")
def _():
    query = "SELECT Id, Name, Nope__c, Ext_Id__c FROM Account WHERE Ext_Id__c = 'ACC-000001'"
    move("unknown", [{"query": query, "operation": "Upsert", "externalId": "Ext_Id__c"}])
    said = "".join(log.read_text() for log in Path("unknown/logs").iterdir())
    assert "Field Account.Nope__c is missing in the Source" in said, said[-800:]
    return "named, and left out"


linked = cli.run("plugins", "link", str(Path(judge.tools) / "node_modules/sfdmu"), "--no-install")
assert linked.returncode == 0, linked.stderr
judge.run()
