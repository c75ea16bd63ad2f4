"""simple-salesforce, as its users write it: logins, describe, queries with paging, records, both Bulk APIs, limits, errors."""

import csv
import io
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import requests
from judge import Judge, as_csv, refused, same
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)

VERSION = "60.0"
BULK_ROWS = 250
BULK_PAGE = 500
# Seconds; what the library waits before it looks at a job again.
WAIT = 0.2
OPPORTUNITIES = "SELECT Id, Name, StageName, CloseDate, Amount, IsClosed FROM Opportunity"

judge = Judge()
org = judge.org()


def session(proxied=False):
    opened = requests.Session()
    if proxied:
        opened.proxies = {"https": judge.proxy}
    return opened


client = Salesforce(instance_url=org.https_url, session_id=org.token, session=session(), version=VERSION)


def plain(records):
    """simple-salesforce hands on `attributes`."""
    return [{name: value for name, value in record.items() if name != "attributes"} for record in records]


def parsed(pages):
    return [row for page in pages for row in csv.DictReader(io.StringIO(page))]


def works(opened):
    """The session that a login gave answers for the org that was asked."""
    assert opened.query("SELECT Id FROM Organization")["records"][0]["Id"] == org.org_id
    return f"{opened.auth_type} at {opened.sf_instance}"


# ---- logging in


@judge.capability("login-token")
def _():
    return works(client)


@judge.capability("login-soap-password")
def _():
    return works(Salesforce(username=org.username, password=org.password, security_token=org.security_token, session=session(True), version=VERSION))


@judge.capability("login-oauth-password")
def _():
    given = {"username": org.username, "password": org.password + org.security_token}
    return works(Salesforce(**given, consumer_key=org.client_id, consumer_secret=org.client_secret, session=session(True), version=VERSION))


@judge.capability("login-client-credentials")
def _():
    return works(Salesforce(consumer_key=org.client_id, consumer_secret=org.client_secret, domain="demo.my", session=session(True), version=VERSION))


@judge.capability("login-jwt")
def _():
    given = {"username": org.username, "consumer_key": org.client_id, "privatekey_file": org.jwt_private_key}
    return works(Salesforce(**given, session=session(True), version=VERSION))


@judge.capability("login-refused")
def _():
    given = {"username": org.username, "password": "wrong", "session": session(True), "version": VERSION}
    error = refused(SalesforceAuthenticationFailed, lambda: Salesforce(**given, security_token="wrong"))
    assert error.code == "INVALID_LOGIN", error
    error = refused(SalesforceAuthenticationFailed, lambda: Salesforce(**given, consumer_key=org.client_id, consumer_secret=org.client_secret))
    assert error.code == "invalid_grant", error
    given = {"consumer_key": org.client_id, "consumer_secret": "wrong", "domain": "demo.my"}
    error = refused(SalesforceAuthenticationFailed, lambda: Salesforce(**given, session=session(True), version=VERSION))
    assert error.code == "invalid_client", error
    return "INVALID_LOGIN, invalid_grant, invalid_client"


# ---- what there is


@judge.capability("describe-global")
def _():
    found = {one["name"]: one for one in client.describe()["sobjects"]}
    assert {"Account", "Contact", "Opportunity", "User"} <= found.keys()
    assert found["Account"]["keyPrefix"] == "001" and found["Account"]["urls"]["describe"].endswith("/sobjects/Account/describe")
    return f"{len(found)} objects"


@judge.capability("describe")
def _():
    found = client.Account.describe()
    fields = {field["name"]: field for field in found["fields"]}
    assert found["keyPrefix"] == "001" and fields["Name"]["length"] == 255 and not fields["Name"]["nillable"]
    assert fields["Ext_Id__c"]["externalId"] and fields["Ext_Id__c"]["unique"]
    assert fields["ParentId"]["referenceTo"] == ["Account"] and fields["ParentId"]["relationshipName"] == "Parent"
    values = [value["value"] for value in fields["Type"]["picklistValues"]]
    used = {row["Type"] for row in org.rows("SELECT Type FROM Account") if row["Type"]}
    assert used and used <= set(values), used - set(values)
    assert all(len(field) == 57 for field in found["fields"])
    return f"{len(fields)} fields, 57 attributes each"


@judge.capability("metadata-and-recent")
def _():
    found = client.Contact.metadata()
    assert found["objectDescribe"]["name"] == "Contact" and isinstance(found["recentItems"], list)
    return found["objectDescribe"]["label"]


@judge.capability("limits")
def _():
    before = client.limits()["DailyApiRequests"]
    for _ in range(5):
        client.query("SELECT Id FROM Account LIMIT 1")
    after = client.limits()["DailyApiRequests"]
    assert before["Max"] == after["Max"] and before["Remaining"] - after["Remaining"] == 6, (before, after)
    used = client.api_usage["api-usage"]
    assert used.total == after["Max"] and used.used == after["Max"] - after["Remaining"], used
    return f"{used.used} of {used.total}"


# ---- reading


@judge.capability("query")
def _():
    soql = "SELECT Id, Name, Industry, AnnualRevenue, NumberOfEmployees, CreatedDate FROM Account WHERE Industry = 'Banking' ORDER BY Name LIMIT 50"
    wanted = org.truth(soql)
    found = client.query(soql)
    assert found["totalSize"] == len(wanted) and found["done"]
    return same(wanted, plain(found["records"]))


@judge.capability("query-paging")
def _():
    wanted = org.truth(OPPORTUNITIES)
    first = client.query(OPPORTUNITIES)
    assert not first["done"] and len(first["records"]) < first["totalSize"] == len(wanted)
    second = client.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    assert not {one["Id"] for one in first["records"]} & {one["Id"] for one in second["records"]}
    return f"{same(wanted, plain(client.query_all_iter(OPPORTUNITIES)))} in pages of {len(first['records'])}"


@judge.capability("query-relationships")
def _():
    wanted = org.truth("SELECT Id, LastName, AccountId, Account.Name FROM Contact WHERE Account.Industry = 'Banking'")
    found = client.query_all("SELECT Name, (SELECT Id, LastName, AccountId FROM Contacts) FROM Account WHERE Industry = 'Banking'")["records"]
    children = [
        {"Id": child["Id"], "LastName": child["LastName"], "AccountId": child["AccountId"], "Account.Name": parent["Name"]}
        for parent in found
        for child in (parent["Contacts"] or {"records": []})["records"]
    ]
    return same(wanted, children)


@judge.capability("query-aggregates")
def _():
    wanted = {}
    for row in org.truth("SELECT Id, StageName, Amount FROM Opportunity WHERE Amount != null"):
        count, amount = wanted.get(row["StageName"], (0, 0))
        wanted[row["StageName"]] = (count + 1, round(amount + row["Amount"], 2))
    soql = "SELECT StageName, COUNT(Id) n, SUM(Amount) total FROM Opportunity WHERE Amount != null GROUP BY StageName HAVING COUNT(Id) > 0"
    found = {row["StageName"]: (row["n"], round(row["total"], 2)) for row in client.query(soql)["records"]}
    assert found == wanted, (found, wanted)
    return f"{len(found)} groups"


@judge.capability("query-deleted")
def _():
    made = [client.Account.create({"Name": f"to be deleted {n}"})["id"] for n in range(3)]
    client.Account.delete(made[0])
    soql = "SELECT Id, Name, IsDeleted FROM Account WHERE Name LIKE 'to be deleted %'"
    assert client.query(soql)["totalSize"] == 2
    org.holds("Account", {made[0]: None, made[1]: {"Name": "to be deleted 1"}})
    found = {row["Id"]: row["IsDeleted"] for row in client.query(soql, include_deleted=True)["records"]}
    assert found == {made[0]: True, made[1]: False, made[2]: False}, found
    return "one of three"


@judge.capability("search")
def _():
    wanted = org.truth("SELECT Id, Phone, Name FROM Account WHERE Phone LIKE '(555)%' ORDER BY Name LIMIT 1")[0]
    name = "".join(c if c.isalnum() or c == " " else "\\" + c for c in wanted["Name"])
    found = client.search(f"FIND {{{name}}} IN NAME FIELDS RETURNING Account(Id, Phone, Name)")["searchRecords"]
    assert wanted in plain(found), plain(found)[:3]
    return f"{len(found)} found"


@judge.capability("updated-and-deleted")
def _():
    start = datetime.now(UTC) - timedelta(minutes=2)
    made = client.Account.create({"Name": "changed"})["id"]
    gone = client.Account.create({"Name": "gone"})["id"]
    client.Account.delete(gone)
    end = datetime.now(UTC) + timedelta(minutes=2)
    assert made in client.Account.updated(start, end)["ids"]
    assert gone in [one["id"] for one in client.Account.deleted(start, end)["deletedRecords"]]
    org.holds("Account", {made: {"Name": "changed"}, gone: None})
    return "one each"


# ---- single records


@judge.capability("create")
def _():
    values = {"Name": "Ünïcode & Söhne «1»", "Industry": "Banking", "AnnualRevenue": 1250000.0, "NumberOfEmployees": 12, "Ext_Id__c": "SS-1"}
    made = client.Account.create(values)
    assert made["success"] and made["errors"] == []
    org.holds("Account", {made["id"]: values})
    contact = client.Contact.create({"LastName": "Ada", "AccountId": made["id"], "Birthdate": "1990-12-31", "HasOptedOutOfEmail": True})["id"]
    org.holds("Contact", {contact: {"LastName": "Ada", "AccountId": made["id"], "Birthdate": "1990-12-31", "HasOptedOutOfEmail": True}})
    return "an account and its contact"


@judge.capability("read")
def _():
    wanted = org.truth("SELECT Id, Name, Ext_Id__c, Industry FROM Account WHERE Ext_Id__c = 'ACC-000001'")[0]
    by_id, by_key = client.Account.get(wanted["Id"]), client.Account.get_by_custom_id("Ext_Id__c", "ACC-000001")
    for found in (by_id, by_key):
        assert {name: found[name] for name in wanted} == wanted, found
    return "by id and by external id"


@judge.capability("update")
def _():
    made = client.Account.create({"Name": "before", "Phone": "1"})["id"]
    assert client.Account.update(made, {"Name": "after", "Phone": None, "Site": "x" * 80}) == 204
    org.holds("Account", {made: {"Name": "after", "Phone": None, "Site": "x" * 80}})
    return "three fields, one of them cleared"


@judge.capability("upsert")
def _():
    key = f"Ext_Id__c/{quote('SS-U 1', safe='')}"
    assert client.Account.upsert(key, {"Name": "inserted"}) == 201
    assert client.Account.upsert(key, {"Name": "updated"}) == 200
    org.holds("Account", {"SS-U 1": {"Name": "updated"}}, key="Ext_Id__c")
    return "201, then 200"


@judge.capability("delete")
def _():
    made = [client.Account.create({"Name": f"delete {n}"})["id"] for n in range(2)]
    assert client.Account.delete(made[0]) == 204
    org.holds("Account", {made[0]: None, made[1]: {"Name": "delete 1"}})
    return "one of two"


@judge.capability("errors")
def _():
    def code(kind, call):
        return refused(kind, call).content[0]["errorCode"]

    malformed, missing = SalesforceMalformedRequest, SalesforceResourceNotFound
    seen = [
        (code(malformed, lambda: client.query("SELECT FROM Account")), "MALFORMED_QUERY"),
        (code(malformed, lambda: client.query("SELECT Nope FROM Account")), "INVALID_FIELD"),
        (code(malformed, lambda: client.query("SELECT Id FROM Nope")), "INVALID_TYPE"),
        (code(malformed, lambda: client.Contact.create({"FirstName": "x"})), "REQUIRED_FIELD_MISSING"),
        (code(malformed, lambda: client.Contact.create({"LastName": "x", "Email": "no address"})), "INVALID_EMAIL_ADDRESS"),
        (code(malformed, lambda: client.Account.create({"Name": "x" * 256})), "STRING_TOO_LONG"),
        (code(malformed, lambda: client.Account.create({"Name": "x", "Ext_Id__c": "ACC-000001"})), "DUPLICATE_VALUE"),
        (code(missing, lambda: client.Account.get("001Wy00000ZZZZZIAE")), "NOT_FOUND"),
        (code(missing, lambda: client.Nope.describe()), "NOT_FOUND"),
    ]
    wrong = [pair for pair in seen if pair[0] != pair[1]]
    assert not wrong, wrong
    return f"{len(seen)} codes"


@judge.capability("expired-session")
def _():
    late = Salesforce(instance_url=org.https_url, session_id=f"{org.org_id[:15]}!no.such.session", session=session(), version=VERSION)
    error = refused(SalesforceExpiredSession, lambda: late.query("SELECT Id FROM Account"))
    assert error.content == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}], error.content
    return "401 INVALID_SESSION_ID"


# ---- Bulk API 2.0


def bulk_records(mark):
    return [{"LastName": f'{mark}, "{n}"\nline', "Ext_Id__c": f"{mark}-{n}", "Email": f"{mark}{n}@example.com"} for n in range(BULK_ROWS)]


def wanted_by_key(records):
    return {record["Ext_Id__c"]: {name: value for name, value in record.items() if name != "Ext_Id__c"} for record in records}


def ids(mark):
    return [row["Id"] for row in org.rows(f"SELECT Id FROM Contact WHERE Ext_Id__c LIKE '{mark}-%'")]


def succeeded(results, rows=BULK_ROWS):
    done = sum(one["numberRecordsProcessed"] for one in results)
    assert done == rows and not any(one["numberRecordsFailed"] for one in results), results
    return f"{rows} rows in {len(results)} jobs"


@judge.capability("bulk2-insert")
def _():
    records = bulk_records("B2")
    said = succeeded(client.bulk2.Contact.insert(records=records, batch_size=200, wait=WAIT))
    org.holds("Contact", wanted_by_key(records), key="Ext_Id__c")
    return said


@judge.capability("bulk2-update")
def _():
    records = [{"Id": one, "FirstName": f"changed {n}", "Email": "#N/A"} for n, one in enumerate(ids("B2"))]
    said = succeeded(client.bulk2.Contact.update(records=records, wait=WAIT))
    org.holds("Contact", {one["Id"]: {"FirstName": one["FirstName"], "Email": None} for one in records})
    return said


@judge.capability("bulk2-upsert")
def _():
    records = [{"Ext_Id__c": f"B2-{n}", "LastName": f"upserted {n}"} for n in range(BULK_ROWS // 2, BULK_ROWS * 3 // 2)]
    before = org.count("Contact")
    said = succeeded(client.bulk2.Contact.upsert(records=records, external_id_field="Ext_Id__c", wait=WAIT))
    org.holds("Contact", wanted_by_key(records), key="Ext_Id__c")
    assert org.count("Contact") - before == BULK_ROWS // 2
    return f"{said}, half of them new"


@judge.capability("bulk2-failed-rows")
def _():
    records = [{"LastName": "good", "Ext_Id__c": "B2F-1"}, {"LastName": "", "Ext_Id__c": "B2F-2"}, {"LastName": "x" * 81, "Ext_Id__c": "B2F-3"}]
    result = client.bulk2.Contact.insert(records=records, wait=WAIT)[0]
    assert (result["numberRecordsProcessed"], result["numberRecordsFailed"]) == (3, 2), result
    failed = {row["Ext_Id__c"]: row["sf__Error"] for row in parsed([client.bulk2.Contact.get_failed_records(result["job_id"])])}
    assert failed.keys() == {"B2F-2", "B2F-3"}, failed
    assert failed["B2F-2"].startswith("REQUIRED_FIELD_MISSING:") and failed["B2F-3"].startswith("STRING_TOO_LONG:"), failed
    good = parsed([client.bulk2.Contact.get_successful_records(result["job_id"])])
    assert [(row["Ext_Id__c"], row["sf__Created"]) for row in good] == [("B2F-1", "true")], good
    assert parsed([client.bulk2.Contact.get_unprocessed_records(result["job_id"])]) == []
    org.holds("Contact", {"B2F-1": {"LastName": "good"}, "B2F-2": None, "B2F-3": None}, key="Ext_Id__c")
    return "one of three, two named"


@judge.capability("bulk2-query")
def _():
    wanted = org.truth(OPPORTUNITIES)
    pages = list(client.bulk2.Opportunity.query(OPPORTUNITIES, max_records=BULK_PAGE, wait=WAIT))
    assert len(pages) == -(-len(wanted) // BULK_PAGE), len(pages)
    return f"{same(as_csv(wanted), parsed(pages))} in {len(pages)} pages"


@judge.capability("bulk2-delete")
def _():
    made = ids("B2")
    kept = client.Contact.create({"LastName": "kept"})["id"]
    said = succeeded(client.bulk2.Contact.delete(records=[{"Id": one} for one in made], wait=WAIT), len(made))
    org.holds("Contact", dict.fromkeys(made[:100]) | {kept: {"LastName": "kept"}})
    assert ids("B2") == []
    return said


# ---- Bulk API 1.0


def all_succeeded(results, rows=BULK_ROWS):
    assert len(results) == rows and all(one["success"] and not one["errors"] for one in results), [one for one in results if not one["success"]][:2]
    return f"{rows} rows"


@judge.capability("bulk1-insert")
def _():
    records = bulk_records("B1")
    said = all_succeeded(client.bulk.Contact.insert(records, batch_size=100))
    org.holds("Contact", wanted_by_key(records), key="Ext_Id__c")
    return said


@judge.capability("bulk1-update")
def _():
    records = [{"Id": one, "FirstName": f"changed {n}", "Email": None} for n, one in enumerate(ids("B1"))]
    said = all_succeeded(client.bulk.Contact.update(records))
    org.holds("Contact", {one["Id"]: {"FirstName": one["FirstName"], "Email": None} for one in records})
    return said


@judge.capability("bulk1-upsert")
def _():
    records = [{"Ext_Id__c": f"B1-{n}", "LastName": f"upserted {n}"} for n in range(BULK_ROWS // 2, BULK_ROWS * 3 // 2)]
    results = client.bulk.Contact.upsert(records, "Ext_Id__c")
    assert [one["created"] for one in results].count(True) == BULK_ROWS // 2
    org.holds("Contact", wanted_by_key(records), key="Ext_Id__c")
    return all_succeeded(results)


@judge.capability("bulk1-failed-rows")
def _():
    results = client.bulk.Contact.insert([{"LastName": "good", "Ext_Id__c": "B1F-1"}, {"LastName": "x" * 81, "Ext_Id__c": "B1F-2"}])
    assert [one["success"] for one in results] == [True, False] and results[1]["errors"][0]["statusCode"] == "STRING_TOO_LONG", results
    org.holds("Contact", {"B1F-1": {"LastName": "good"}, "B1F-2": None}, key="Ext_Id__c")
    return "one of two, in the order of the input"


@judge.capability("bulk1-query")
def _():
    soql = "SELECT Id, Name, StageName, Amount, IsClosed FROM Opportunity"
    return same(org.truth(soql), plain(client.bulk.Opportunity.query(soql, wait=WAIT)))


@judge.capability("bulk1-delete")
def _():
    made = ids("B1")
    kept = client.Contact.create({"LastName": "kept"})["id"]
    said = all_succeeded(client.bulk.Contact.delete([{"Id": one} for one in made]), len(made))
    org.holds("Contact", dict.fromkeys(made[:100]) | {kept: {"LastName": "kept"}})
    assert ids("B1") == []
    return said


judge.run()
