"""The Salesforce CLI's own commands for data, as in a shell."""

import csv
import json
from pathlib import Path

from judge import Judge, as_csv, refused, same
from sf_command import WAIT_MINUTES, Cli, Refused

BULK_ROWS = 250
OPPORTUNITIES = "SELECT Id, Name, StageName, CloseDate, Amount, IsClosed FROM Opportunity"

judge = Judge()
org = judge.org()
cli = Cli(judge.tools)


def sf(*arguments):
    return cli(*arguments, "--target-org", "judged")


def plain(records):
    return [{name: value for name, value in record.items() if name != "attributes"} for record in records]


def write_csv(name, rows):
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return name


def read_csv(name):
    with Path(name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def people():
    return [{"LastName": f'sf, "{n}"', "Ext_Id__c": f"SF-{n}", "Email": f"sf{n}@example.com"} for n in range(BULK_ROWS)]


def ids():
    return [row["Id"] for row in org.rows("SELECT Id FROM Contact WHERE Ext_Id__c LIKE 'SF-%'")]


def by_key(rows):
    return {row["Ext_Id__c"]: {name: value for name, value in row.items() if name != "Ext_Id__c"} for row in rows}


# ---- the org


@judge.capability("login-token")
def _():
    said = cli.login(org, "judged")
    assert (said["orgId"], said["username"], said["isSandbox"]) == (org.org_id, org.username, False), said
    return f"{said['name']}, API {said['instanceApiVersion']}"


@judge.capability("login-refused")
def _():
    error = refused(Refused, lambda: cli("org", "login", "access-token", "--instance-url", org.https_url, "--no-prompt", SF_ACCESS_TOKEN=f"{org.org_id[:15]}!no.session"))
    return error.name


@judge.capability("org-display")
def _():
    said = sf("org", "display")
    assert (said["id"], said["username"], said["connectedStatus"]) == (org.org_id, org.username, "Connected"), said
    return said["connectedStatus"]


@judge.capability("describe-global")
def _():
    names = sf("sobject", "list", "--sobject", "all")
    assert {"Account", "Contact", "Opportunity"} <= set(names), names
    return f"{len(names)} objects"


@judge.capability("describe")
def _():
    found = sf("sobject", "describe", "--sobject", "Contact")
    fields = {field["name"]: field for field in found["fields"]}
    assert found["keyPrefix"] == "003" and fields["AccountId"]["referenceTo"] == ["Account"] and fields["Ext_Id__c"]["externalId"]
    return f"{len(fields)} fields"


@judge.capability("limits")
def _():
    found = {one["name"]: one for one in sf("org", "list", "limits")}
    own = org.call("GET", "/services/data/v65.0/limits")
    assert found["DailyApiRequests"]["max"] == own["DailyApiRequests"]["Max"], found["DailyApiRequests"]
    assert 0 < own["DailyApiRequests"]["Max"] - found["DailyApiRequests"]["remaining"] < 1000, found["DailyApiRequests"]
    return f"{len(found)} limits"


@judge.capability("record-counts")
def _():
    found = {one["name"]: one["count"] for one in sf("org", "list", "sobject", "record-counts", "--sobject", "Account", "--sobject", "Opportunity")}
    wanted = {name: org.count(name) for name in ("Account", "Opportunity")}
    assert found == wanted, (found, wanted)
    return str(found)


@judge.capability("rest-request")
def _():
    done = cli.run("api", "request", "rest", "/services/data/v65.0/sobjects/Account", "--target-org", "judged")
    assert json.loads(done.stdout)["objectDescribe"]["name"] == "Account", done.stdout[:200]
    return "sobjects/Account"


@judge.capability("errors")
def _():
    def name(*arguments):
        return refused(Refused, lambda: sf(*arguments)).name

    seen = [
        (name("data", "query", "--query", "SELECT FROM Account"), "MALFORMED_QUERY"),
        (name("data", "query", "--query", "SELECT Id FROM Nope"), "INVALID_TYPE"),
        (name("data", "create", "record", "--sobject", "Contact", "--values", "FirstName=x"), "REQUIRED_FIELD_MISSING"),
        (name("data", "get", "record", "--sobject", "Account", "--record-id", "001Wy00000ZZZZZIAE"), "NOT_FOUND"),
    ]
    wrong = [pair for pair in seen if pair[0] != pair[1]]
    assert not wrong, wrong
    return f"{len(seen)} codes"


# ---- reading


@judge.capability("query")
def _():
    soql = "SELECT Id, Name, Industry, AnnualRevenue, CreatedDate FROM Account WHERE Industry = 'Banking'"
    wanted = org.truth(soql)
    found = sf("data", "query", "--query", soql)
    assert found["totalSize"] == len(wanted) and found["done"]
    return same(wanted, plain(found["records"]))


@judge.capability("query-paging")
def _():
    wanted = org.truth(OPPORTUNITIES)
    return same(wanted, plain(sf("data", "query", "--query", OPPORTUNITIES)["records"]))


@judge.capability("query-csv")
def _():
    soql = "SELECT Id, LastName, Email, Account.Name FROM Contact WHERE Account.Industry = 'Banking'"
    wanted = as_csv(org.truth(soql))
    cli.run("data", "query", "--query", soql, "--result-format", "csv", "--output-file", "contacts.csv", "--target-org", "judged")
    return same(wanted, read_csv("contacts.csv"))


@judge.capability("query-children")
def _():
    wanted = org.truth("SELECT Id, LastName, AccountId FROM Contact WHERE Account.Industry = 'Banking'")
    found = sf("data", "query", "--query", "SELECT Id, (SELECT Id, LastName, AccountId FROM Contacts) FROM Account WHERE Industry = 'Banking'")
    children = [child for parent in found["records"] for child in (parent["Contacts"] or {"records": []})["records"]]
    return same(wanted, plain(children))


@judge.capability("search")
def _():
    wanted = org.truth("SELECT Id, LastName, Email FROM Contact WHERE Email LIKE '%@%' ORDER BY Email LIMIT 1")[0]
    found = sf("data", "search", "--query", f'FIND {{"{wanted["Email"]}"}} IN EMAIL FIELDS RETURNING Contact(Id, LastName, Email)')
    assert wanted in plain(found["searchRecords"]), plain(found["searchRecords"])
    return f"{len(found['searchRecords'])} found"


@judge.capability("export-bulk")
def _():
    wanted = org.truth(OPPORTUNITIES)
    said = sf("data", "export", "bulk", "--query", OPPORTUNITIES, "--output-file", "opportunities.csv", "--wait", WAIT_MINUTES)
    assert said["totalSize"] == len(wanted), said
    return same(as_csv(wanted), read_csv("opportunities.csv"))


@judge.capability("export-tree")
def _():
    wanted = org.truth("SELECT Id, LastName, Ext_Id__c FROM Contact WHERE Account.Ext_Id__c = 'ACC-000000'")
    sf("data", "export", "tree", "--query", "SELECT Name, Ext_Id__c, (SELECT LastName, Ext_Id__c FROM Contacts) FROM Account WHERE Ext_Id__c = 'ACC-000000'", "--plan", "--output-dir", "tree")
    plan = json.loads(Path("tree/Account-Contact-plan.json").read_text())
    assert [step["sobject"] for step in plan] == ["Account", "Contact"], plan
    contacts = json.loads(Path("tree/Contact.json").read_text())["records"]
    found = {row["Ext_Id__c"]: row["LastName"] for row in contacts}
    assert found == {row["Ext_Id__c"]: row["LastName"] for row in wanted}, (found, wanted)
    assert all(row["AccountId"] == "@AccountRef1" for row in contacts), contacts[0]
    return f"an account and {len(contacts)} contacts"


# ---- writing


@judge.capability("import-tree")
def _():
    Path("Account.json").write_text(
        json.dumps({"records": [{"attributes": {"type": "Account", "referenceId": f"a{n}"}, "Name": f"tree {n}", "Ext_Id__c": f"SFT-{n}"} for n in range(3)]})
    )
    Path("Contact.json").write_text(
        json.dumps(
            {"records": [{"attributes": {"type": "Contact", "referenceId": f"c{n}"}, "LastName": f"leaf {n}", "Ext_Id__c": f"SFT-{n}", "AccountId": f"@a{n}"} for n in range(3)]}
        )
    )
    plan = [{"sobject": name, "files": [f"{name}.json"]} for name in ("Account", "Contact")]
    Path("plan.json").write_text(json.dumps(plan))
    said = sf("data", "import", "tree", "--plan", "plan.json")
    made = {one["refId"]: one["id"] for one in said}
    assert len(made) == 6, said
    org.holds("Account", {made[f"a{n}"]: {"Name": f"tree {n}"} for n in range(3)})
    org.holds("Contact", {made[f"c{n}"]: {"LastName": f"leaf {n}", "AccountId": made[f"a{n}"]} for n in range(3)})
    return "three accounts and their contacts"


@judge.capability("create-record")
def _():
    made = sf("data", "create", "record", "--sobject", "Account", "--values", "Name='Ünïcode & Söhne' Industry=Banking NumberOfEmployees=12 Ext_Id__c=SF-R")
    org.holds("Account", {made["id"]: {"Name": "Ünïcode & Söhne", "Industry": "Banking", "NumberOfEmployees": 12, "Ext_Id__c": "SF-R"}})
    return made["id"]


@judge.capability("get-record")
def _():
    wanted = org.truth("SELECT Id, Name, Industry, Ext_Id__c FROM Account WHERE Ext_Id__c = 'ACC-000001'")[0]
    by_id = sf("data", "get", "record", "--sobject", "Account", "--record-id", wanted["Id"])
    by_where = sf("data", "get", "record", "--sobject", "Account", "--where", "Ext_Id__c=ACC-000001")
    for found in (by_id, by_where):
        assert {name: found[name] for name in wanted} == wanted, {name: found[name] for name in wanted}
    return "by id and by a field"


@judge.capability("update-record")
def _():
    made = org.call("POST", "/services/data/v65.0/sobjects/Account", {"Name": "before", "Ext_Id__c": "SF-U"})["id"]
    sf("data", "update", "record", "--sobject", "Account", "--where", "Ext_Id__c=SF-U", "--values", "Name=after Phone=0100")
    org.holds("Account", {made: {"Name": "after", "Phone": "0100"}})
    return "found by a field"


@judge.capability("delete-record")
def _():
    made = [org.call("POST", "/services/data/v65.0/sobjects/Account", {"Name": f"delete {n}"})["id"] for n in range(2)]
    sf("data", "delete", "record", "--sobject", "Account", "--record-id", made[0])
    org.holds("Account", {made[0]: None, made[1]: {"Name": "delete 1"}})
    return "one of two"


@judge.capability("import-bulk")
def _():
    rows = people()
    said = sf("data", "import", "bulk", "--sobject", "Contact", "--file", write_csv("insert.csv", rows), "--wait", WAIT_MINUTES)
    assert (said["processedRecords"], said["successfulRecords"], said["failedRecords"]) == (BULK_ROWS, BULK_ROWS, 0), said
    org.holds("Contact", by_key(rows), key="Ext_Id__c")
    return f"{BULK_ROWS} rows"


@judge.capability("update-bulk")
def _():
    rows = [{"Id": one, "FirstName": f"changed {n}", "Email": "#N/A"} for n, one in enumerate(ids())]
    said = sf("data", "update", "bulk", "--sobject", "Contact", "--file", write_csv("update.csv", rows), "--wait", WAIT_MINUTES)
    assert (said["successfulRecords"], said["failedRecords"]) == (len(rows), 0), said
    org.holds("Contact", {row["Id"]: {"FirstName": row["FirstName"], "Email": None} for row in rows})
    return f"{len(rows)} rows"


@judge.capability("upsert-bulk")
def _():
    rows = [{"Ext_Id__c": f"SF-{n}", "LastName": f"upserted {n}"} for n in range(BULK_ROWS // 2, BULK_ROWS * 3 // 2)]
    before = org.count("Contact")
    said = sf("data", "upsert", "bulk", "--sobject", "Contact", "--external-id", "Ext_Id__c", "--file", write_csv("upsert.csv", rows), "--wait", WAIT_MINUTES)
    assert (said["jobInfo"]["numberRecordsProcessed"], said["jobInfo"]["numberRecordsFailed"]) == (BULK_ROWS, 0), said
    org.holds("Contact", by_key(rows), key="Ext_Id__c")
    assert org.count("Contact") - before == BULK_ROWS // 2
    return f"{BULK_ROWS} rows, half of them new"


@judge.capability("bulk-results")
def _():
    rows = [{"LastName": "good", "Ext_Id__c": "SFF-1"}, {"LastName": "x" * 81, "Ext_Id__c": "SFF-2"}]
    error = refused(Refused, lambda: sf("data", "import", "bulk", "--sobject", "Contact", "--file", write_csv("failing.csv", rows), "--wait", WAIT_MINUTES))
    job = error.answer["data"]["jobId"]
    said = sf("data", "bulk", "results", "--job-id", job)
    assert (said["successfulRecords"], said["failedRecords"]) == (1, 1), said
    failed = read_csv(said["failedFilePath"])
    assert [row["Ext_Id__c"] for row in failed] == ["SFF-2"] and failed[0]["sf__Error"].startswith("STRING_TOO_LONG:"), failed
    org.holds("Contact", {"SFF-1": {"LastName": "good"}, "SFF-2": None}, key="Ext_Id__c")
    return "one of two, the other named"


@judge.capability("delete-bulk")
def _():
    made = ids()
    kept = org.call("POST", "/services/data/v65.0/sobjects/Contact", {"LastName": "kept"})["id"]
    said = sf("data", "delete", "bulk", "--sobject", "Contact", "--file", write_csv("delete.csv", [{"Id": one} for one in made]), "--wait", WAIT_MINUTES)
    assert (said["jobInfo"]["numberRecordsProcessed"], said["jobInfo"]["numberRecordsFailed"]) == (len(made), 0), said
    org.holds("Contact", dict.fromkeys(made[:100]) | {kept: {"LastName": "kept"}})
    assert ids() == []
    return f"{len(made)} rows"


@judge.capability("query-all-rows")
def _():
    made = [org.call("POST", "/services/data/v65.0/sobjects/Account", {"Name": f"sf gone {n}"})["id"] for n in range(2)]
    org.call("DELETE", f"/services/data/v65.0/sobjects/Account/{made[0]}")
    org.holds("Account", {made[0]: None, made[1]: {"Name": "sf gone 1"}})
    found = sf("data", "query", "--all-rows", "--query", "SELECT Id, IsDeleted FROM Account WHERE Name LIKE 'sf gone %'")["records"]
    assert {row["Id"]: row["IsDeleted"] for row in found} == {made[0]: True, made[1]: False}, found
    return "one deleted, one not"


judge.run()
