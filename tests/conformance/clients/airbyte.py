"""Airbyte's source for Salesforce, as its platform runs it: spec, check, discover, read. Its login host is fixed, so it goes by the proxy."""

import json
import os
import subprocess
from pathlib import Path

from judge import Judge, difference

COMMAND_SECONDS = 120
API = "/services/data/v65.0"

judge = Judge()
org = judge.org()
program = str(Path(judge.tools) / "bin/source-salesforce")
ENVIRONMENT = os.environ | {"HTTPS_PROXY": judge.proxy, "NO_PROXY": ""}
CONFIGURATION = {
    "auth_type": "Client",
    "client_id": org.client_id,
    "client_secret": org.client_secret,
    "refresh_token": org.refresh_token,
    "start_date": "2015-01-01T00:00:00Z",
    "stream_slice_step": "P7300D",
    "streams_criteria": [{"criteria": "exacts", "value": name} for name in ("Account", "Contact", "Opportunity", "Lead", "Case")],
}
CURSOR = "SystemModstamp"


def airbyte(command, **files):
    """The messages of a command, and its exit code."""
    arguments = []
    for name, content in files.items():
        Path(f"{name}.json").write_text(json.dumps(content))
        arguments += [f"--{name}", f"{name}.json"]
    done = subprocess.run([program, command, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    messages = []
    for line in done.stdout.splitlines():
        try:
            messages.append(json.loads(line))
        except ValueError:
            continue
    return messages, done.returncode


def one(messages, kind):
    found = [message for message in messages if message["type"] == kind]
    assert len(found) == 1, [message for message in messages if message["type"] in ("TRACE", "LOG")][-2:]
    return found[0]


def checked(**changes):
    return one(airbyte("check", config=CONFIGURATION | changes)[0], "CONNECTION_STATUS")["connectionStatus"]


streams = {}


def discovered():
    """Streams by name; asked for once."""
    if not streams:
        messages, code = airbyte("discover", config=CONFIGURATION)
        assert code == 0, messages[-2:]
        streams.update({stream["name"]: stream for stream in one(messages, "CATALOG")["catalog"]["streams"]})
    return streams


def read(name, mode="full_refresh", state=None, fields=None, **changes):
    """Records and the last state of one stream."""
    stream = dict(discovered()[name])
    if fields:
        schema = stream["json_schema"]
        stream["json_schema"] = schema | {"properties": {field: schema["properties"][field] for field in fields}}
    configured = {"stream": stream, "sync_mode": mode, "destination_sync_mode": "append", "cursor_field": [CURSOR], "primary_key": [["Id"]]}
    files = {"config": CONFIGURATION | changes, "catalog": {"streams": [configured]}}
    if state:
        files["state"] = state
    messages, code = airbyte("read", **files)
    assert code == 0, [message for message in messages if message["type"] in ("TRACE", "LOG")][-3:]
    records = [message["record"]["data"] for message in messages if message["type"] == "RECORD"]
    states = [message["state"] for message in messages if message["type"] == "STATE"]
    return records, states[-1:]


def equal(wanted, has):
    """Records as read against the org's: times as Bulk writes them, numbers as numbers."""
    found = {row["Id"]: row for row in has}
    assert len(found) == len(has) == len(wanted), f"{len(has)} records, not {len(wanted)}"
    for row in wanted:
        expected = {name: value.replace(".000+0000", ".000Z") if isinstance(value, str) else value for name, value in row.items()}
        other = {name: value.replace(".000+0000", ".000Z") if isinstance(value, str) else value for name, value in found[row["Id"]].items()}
        other = {name: other.get(name) for name in expected}
        assert other == expected, f"{row['Id']}: {difference(expected, other)}"
    return f"{len(wanted)} records"


def requests():
    return org.call("GET", "/__sim/requests")["requests"]


def count(before, part):
    return sum(number - before.get(name, 0) for name, number in requests().items() if part in name)


# ---- the connection


@judge.capability("check")
def _():
    before = requests()
    status = checked()
    assert status["status"] == "SUCCEEDED", status
    assert count(before, "POST /services/oauth2/token") >= 1
    return "by refresh token at login.salesforce.com"


@judge.capability("wrong-secret")
def _():
    status = checked(client_secret="wrong")
    assert status["status"] == "FAILED", status
    return status["message"]


@judge.capability("wrong-refresh-token")
def _():
    status = checked(refresh_token="wrong")
    assert status["status"] == "FAILED" and "Re-authenticate" in status["message"], status
    return status["message"]


@judge.capability("quota-exhausted")
def _():
    limits = org.call("GET", f"{API}/limits")["DailyApiRequests"]
    org.call("POST", "/__sim/limits", {"max": 10, "used": 10})
    try:
        messages, _ = airbyte("check", config=CONFIGURATION)
        assert "REQUEST_LIMIT_EXCEEDED" in json.dumps(messages) or "API Call limit is exceeded" in json.dumps(messages), messages[-2:]
    finally:
        org.call("POST", "/__sim/limits", {"max": limits["Max"], "used": limits["Max"] - limits["Remaining"]})
    return "told as a limit"


@judge.capability("discover")
def _():
    found = discovered()
    assert {"Account", "Contact", "Opportunity"} <= found.keys(), list(found)
    return f"{len(found)} streams"


@judge.capability("discover-types")
def _():
    properties = discovered()["Opportunity"]["json_schema"]["properties"]
    wanted = {"Name": "string", "Amount": "number", "IsClosed": "boolean", "CloseDate": "string"}
    assert {name: properties[name]["type"][0] for name in wanted} == wanted, properties
    assert (properties["CloseDate"]["format"], properties["CreatedDate"]["format"]) == ("date", "date-time")
    return f"{len(properties)} properties"


@judge.capability("discover-keys")
def _():
    stream = discovered()["Account"]
    assert (stream["source_defined_primary_key"], stream["default_cursor_field"]) == ([["Id"]], [CURSOR]), stream
    assert set(stream["supported_sync_modes"]) == {"full_refresh", "incremental"}, stream
    return "key and cursor"


# ---- reading


@judge.capability("full-refresh-bulk")
def _():
    before = requests()
    wanted = org.truth("SELECT Id, Name, StageName, CloseDate, Amount, IsClosed, SystemModstamp FROM Opportunity")
    records, _ = read("Opportunity", force_use_bulk_api=True)
    assert count(before, "POST /services/data/v62.0/jobs/query") == 1 and count(before, "/results") >= 1
    return equal(wanted, records)


@judge.capability("full-refresh-rest")
def _():
    before = requests()
    fields = ["Id", "LastName", "Email", "AccountId", "MailingAddress", CURSOR]
    wanted = org.truth("SELECT Id, LastName, Email, AccountId, SystemModstamp FROM Contact WHERE MailingCity != null")
    records, _ = read("Contact", fields=fields)
    assert count(before, "queryAll") >= 1 and count(before, "/jobs/query") == 0
    found = {row["Id"]: row for row in records}
    assert all(isinstance(found[row["Id"]]["MailingAddress"], dict) for row in wanted)
    return equal(wanted, [found[row["Id"]] for row in wanted])


@judge.capability("deleted-records")
def _():
    made = [org.call("POST", f"{API}/sobjects/Lead", {"LastName": f"read {n}", "Company": "deleted"})["id"] for n in range(2)]
    org.call("DELETE", f"{API}/sobjects/Lead/{made[0]}")
    records, _ = read("Lead", force_use_bulk_api=True)
    found = {row["Id"]: row for row in records}
    assert (found[made[0]]["IsDeleted"], found[made[1]]["IsDeleted"]) == (True, False)
    org.holds("Lead", {made[0]: None, made[1]: {"LastName": found[made[1]]["LastName"]}})
    return "one of two"


@judge.capability("job-deleted")
def _():
    before = requests()
    read("Case", force_use_bulk_api=True)
    assert count(before, "DELETE /services/data/v62.0/jobs/query/") == count(before, "POST /services/data/v62.0/jobs/query") == 1
    return "what was read is cleaned away"


@judge.capability("incremental")
def _():
    records, state = read("Account", "incremental", force_use_bulk_api=True)
    said = equal(org.rows("SELECT Id, Name FROM Account"), records)
    changed = org.rows("SELECT Id FROM Account WHERE Ext_Id__c = 'ACC-000001'")[0]["Id"]
    org.call("PATCH", f"{API}/sobjects/Account/{changed}", {"Name": "changed since"})
    records, _ = read("Account", "incremental", state, force_use_bulk_api=True)
    found = {row["Id"]: row for row in records}
    assert changed in found and len(found) < 10, f"{len(found)} records the second time"
    org.holds("Account", {changed: {"Name": found[changed]["Name"]}})
    return f"{said}, then {len(found)}"


@judge.capability("job-failed")
def _():
    fault = {"kind": "status", "method": "POST", "path": "/jobs/query", "status": 400, "times": 1}
    fault["body"] = json.dumps([{"errorCode": "API_ERROR", "message": "Selecting compound data not supported in Bulk Query"}])
    org.call("POST", "/__sim/faults", fault)
    try:
        wanted = org.truth("SELECT Id, LastName, Company FROM Lead")
        records, _ = read("Lead", force_use_bulk_api=True)
    finally:
        org.call("DELETE", "/__sim/faults")
    found = [row for row in records if not row["IsDeleted"]]
    return f"{equal(wanted, found)} by REST instead"


judge.run()
