"""CumulusCI's own tasks for data: extract and load datasets, query, delete, update, generate. Orgs come from the environment."""

import csv
import json
import os
import sqlite3
import subprocess
import time
from pathlib import Path

import yaml
from judge import Judge, as_csv, same

TASK_SECONDS = 120
API = "/services/data/v65.0"
BANKS = "Industry = 'Banking'"
ACCOUNTS = f"SELECT Id, Name, Ext_Id__c, Industry FROM Account WHERE {BANKS}"
CONTACTS = f"SELECT Id, LastName, FirstName, Email, Ext_Id__c, Account.Ext_Id__c FROM Contact WHERE Account.{BANKS}"

judge = Judge()
source, target = judge.org("source"), judge.org("target")
cci_program = str(Path(judge.tools) / "bin/cci")


def connected(org, **more):
    """An org's configuration as CumulusCI reads it from CUMULUSCI_ORG_name."""
    names = ("username", "org_id", "refresh_token", "client_id", "client_secret")
    given = {"access_token": org.token, "instance_url": org.https_url, "id": f"{org.https_url}/id/{org.org_id}/{org.user_id}"}
    return json.dumps(given | {name: getattr(org, name) for name in names} | more)


ENVIRONMENT = os.environ | {
    "CUMULUSCI_KEYCHAIN_CLASS": "cumulusci.core.keychain.EnvironmentProjectKeychain",
    "CUMULUSCI_ORG_from": connected(source),
    "CUMULUSCI_ORG_into": connected(target),
    "CUMULUSCI_DISABLE_REFRESH": "",
}


def cci(*arguments, fails=False, **more):
    done = subprocess.run(
        [cci_program, *arguments], env=ENVIRONMENT | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TASK_SECONDS, check=False
    )
    assert (done.returncode != 0) == fails, f"exit code {done.returncode}: {(done.stdout.partition('Error: ')[2] or done.stdout)[-900:]}"
    return done.stdout


def task(name, org, **options):
    fails = options.pop("fails", False)
    return cci("task", "run", name, "--org", org, *(part for option, value in options.items() for part in ("-o", option, value)), fails=fails)


def mapping(file, api, **more):
    """Accounts with their contacts; `more` goes to both steps."""
    steps = {
        "Account": {"sf_object": "Account", "fields": ["Name", "Ext_Id__c", "Industry"], "soql_filter": BANKS},
        "Contact": {
            "sf_object": "Contact",
            "fields": ["LastName", "FirstName", "Email", "Ext_Id__c"],
            "soql_filter": f"Account.{BANKS}",
            "lookups": {"AccountId": {"table": "Account"}},
        },
    }
    # JSON is YAML.
    Path(file).write_text(json.dumps({name: {"api": api, **step, **more} for name, step in steps.items()}))
    return file


def dataset(file):
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    database.executescript(Path(file).read_text())
    return database


def write_dataset(file, accounts, contacts):
    """A dataset as `extract_dataset` writes it; a contact names its account by position."""
    database = sqlite3.connect(":memory:")
    database.execute('CREATE TABLE "Account" (id VARCHAR(255) PRIMARY KEY, "Name" VARCHAR(255), "Ext_Id__c" VARCHAR(255), "Industry" VARCHAR(255))')
    database.execute(
        'CREATE TABLE "Contact" (id VARCHAR(255) PRIMARY KEY, "LastName" VARCHAR(255), "FirstName" VARCHAR(255), "Email" VARCHAR(255), '
        '"Ext_Id__c" VARCHAR(255), "AccountId" VARCHAR(255))'
    )
    database.executemany('INSERT INTO "Account" VALUES (?, ?, ?, ?)', [(f"Account-{n}", *row) for n, row in enumerate(accounts)])
    database.executemany(
        'INSERT INTO "Contact" VALUES (?, ?, ?, ?, ?, ?)', [(f"Contact-{n}", *row[:-1], f"Account-{row[-1]}") for n, row in enumerate(contacts)]
    )
    database.commit()
    Path(file).write_text("\n".join(database.iterdump()))


def people(mark, count=12):
    """Accounts and contacts, the same in every run."""
    accounts = [(f"{mark} account {n}", f"{mark}-{n}", "Banking") for n in range(count)]
    contacts = [(f"{mark} Ünïcode, {n}", "Given", f"{mark.lower()}{n}@example.com", f"{mark}-{n}", n) for n in range(count)]
    return accounts, contacts


def arrived(org, accounts, contacts):
    """The org holds them, each contact at its account."""
    org.holds("Account", {key: {"Name": name, "Industry": industry} for name, key, industry in accounts}, key="Ext_Id__c")
    keys = [key for _, key, _ in accounts]
    quoted = ",".join(f"'{key}'" for key in keys)
    ids = {row["Ext_Id__c"]: row["Id"] for row in org.rows(f"SELECT Id, Ext_Id__c FROM Account WHERE Ext_Id__c IN ({quoted})")}
    wanted = {
        key: {"LastName": last, "FirstName": first, "Email": mail, "AccountId": ids[keys[parent]]} for last, first, mail, key, parent in contacts
    }
    org.holds("Contact", wanted, key="Ext_Id__c")
    return f"{len(accounts)} accounts, {len(contacts)} contacts"


# ---- the org


@judge.capability("login-refresh")
def _():
    before = source.call("GET", "/__sim/requests")["requests"].get("POST /services/oauth2/token", 0)
    said = cci("org", "info", "from")
    assert source.org_id in said and source.username in said and "Enterprise Edition" in said, said
    assert source.call("GET", "/__sim/requests")["requests"]["POST /services/oauth2/token"] > before
    return "token refreshed, org and user read"


@judge.capability("login-jwt")
def _():
    given = {"SFDX_CLIENT_ID": source.client_id, "SFDX_HUB_KEY": Path(source.jwt_private_key).read_text()}
    said = cci("org", "info", "from", **given)
    assert source.org_id in said, said
    return "by assertion"


@judge.capability("login-refused")
def _():
    said = cci("org", "info", "stranger", fails=True, CUMULUSCI_ORG_stranger=connected(source, client_secret="wrong"))
    assert "invalid_client" in said, said[-300:]
    return "invalid_client"


@judge.capability("generate-mapping")
def _():
    task("generate_dataset_mapping", "from", path="generated.yml", include="Account,Contact")
    steps = yaml.safe_load(Path("generated.yml").read_text())
    contact = steps["Insert Contact"]
    assert contact["sf_object"] == "Contact" and {"LastName", "Ext_Id__c"} <= set(contact["fields"]), contact
    assert contact["lookups"]["AccountId"]["table"] == ["Account"], contact["lookups"]
    assert list(steps).index("Insert Account") < list(steps).index("Insert Contact"), list(steps)
    return f"{len(steps)} steps, parents first"


@judge.capability("errors")
def _():
    said = task("query", "from", object="Account", query="SELECT Nope FROM Account", result_file="nope.csv", fails=True)
    assert "InvalidBatch" in said or "INVALID_FIELD" in said, said[-500:]
    said = task("insert_record", "from", object="Contact", values="FirstName:x", fails=True)
    assert "REQUIRED_FIELD_MISSING" in said, said[-500:]
    return "a failed batch and a refused record"


# ---- reading


@judge.capability("query")
def _():
    wanted = source.truth(ACCOUNTS)
    task("query", "from", object="Account", query=ACCOUNTS, result_file="accounts.csv")
    with Path("accounts.csv").open(newline="", encoding="utf-8") as file:
        return same(as_csv(wanted), list(csv.DictReader(file)))


def extract(api):
    accounts, contacts = source.truth(ACCOUNTS), source.rows(CONTACTS)
    task("extract_dataset", "from", mapping=mapping(f"{api}.yml", api), sql_path=f"{api}.sql")
    database = dataset(f"{api}.sql")
    found = {row["Ext_Id__c"]: (row["Name"], row["Industry"]) for row in database.execute('SELECT * FROM "Account"')}
    wanted = {row["Ext_Id__c"]: (row["Name"], row["Industry"]) for row in accounts}
    wrong = {key: (wanted[key], found.get(key)) for key in wanted if found.get(key) != wanted[key]}
    assert not wrong and len(found) == len(wanted), f"{len(found)} accounts of {len(wanted)}, wrong: {dict(list(wrong.items())[:2])}"
    joined = 'SELECT c.*, a."Ext_Id__c" parent FROM "Contact" c JOIN "Account" a ON a.id = c."AccountId"'
    found = {row["Ext_Id__c"]: (row["LastName"], row["FirstName"] or None, row["Email"] or None, row["parent"]) for row in database.execute(joined)}
    wanted = {row["Ext_Id__c"]: (row["LastName"], row["FirstName"], row["Email"], row["Account.Ext_Id__c"]) for row in contacts}
    assert found == wanted, f"{len(found)} contacts of {len(wanted)}"
    return f"{len(accounts)} accounts, {len(contacts)} contacts at theirs"


@judge.capability("extract-rest")
def _():
    return extract("rest")


@judge.capability("extract-bulk")
def _():
    return extract("bulk")


# ---- writing


def load(api, mark, **more):
    accounts, contacts = people(mark)
    write_dataset(f"{mark}.sql", accounts, contacts)
    task("load_dataset", "into", mapping=mapping(f"{mark}.yml", api, **more), sql_path=f"{mark}.sql")
    return arrived(target, accounts, contacts)


@judge.capability("load-rest")
def _():
    return load("rest", "CR")


@judge.capability("load-bulk")
def _():
    return load("bulk", "CB")


@judge.capability("load-from-org-to-org")
def _():
    file = mapping("move.yml", "bulk")
    task("extract_dataset", "from", mapping=file, sql_path="move.sql")
    task("load_dataset", "into", mapping=file, sql_path="move.sql")
    accounts = [(row["Name"], row["Ext_Id__c"], row["Industry"]) for row in source.rows(ACCOUNTS)]
    positions = {key: n for n, (_, key, _) in enumerate(accounts)}
    contacts = [(row["LastName"], row["FirstName"], row["Email"], row["Ext_Id__c"], positions[row["Account.Ext_Id__c"]]) for row in source.rows(CONTACTS)]
    return arrived(target, accounts, contacts)


@judge.capability("load-upsert")
def _():
    accounts, contacts = people("CU")
    for name, key, industry in accounts[:4]:
        target.call("POST", f"{API}/sobjects/Account", {"Name": f"old {name}", "Ext_Id__c": key, "Industry": industry})
    before = target.count("Account")
    said = load("bulk", "CU", action="upsert", update_key="Ext_Id__c")
    assert target.count("Account") - before == len(accounts) - 4
    return f"{said}, four of them there before"


@judge.capability("load-failed-rows")
def _():
    accounts, contacts = people("CF", 3)
    contacts[1] = ("x" * 81, *contacts[1][1:])
    write_dataset("CF.sql", accounts, contacts)
    options = {"mapping": mapping("CF.yml", "bulk"), "sql_path": "CF.sql"}
    said = task("load_dataset", "into", ignore_row_errors="True", **options)
    assert "STRING_TOO_LONG" in said or "1 total errors" in said, said[-600:]
    arrived(target, accounts, [contacts[0], contacts[2]])
    assert target.count("Contact WHERE Ext_Id__c LIKE 'CF-%'") == 2
    task("load_dataset", "into", fails=True, **options)
    return "one of three refused and told"


@judge.capability("insert-record")
def _():
    task("insert_record", "into", object="Account", values="Name:by task,Ext_Id__c:CI-1,Industry:Energy")
    target.holds("Account", {"CI-1": {"Name": "by task", "Industry": "Energy"}}, key="Ext_Id__c")
    return "one account"


def delete(api, mark):
    made = [target.call("POST", f"{API}/sobjects/Lead", {"LastName": mark, "Company": f"{n}"})["id"] for n in range(6)]
    task("delete_data", "into", objects="Lead", where=f"LastName = '{mark}' AND Company != '0'", api=api)
    target.holds("Lead", dict.fromkeys(made[1:]) | {made[0]: {"LastName": mark}})
    return "five of six"


@judge.capability("delete-rest")
def _():
    return delete("rest", "gone by rest")


@judge.capability("delete-bulk")
def _():
    return delete("bulk", "gone by bulk")


@judge.capability("update-data")
def _():
    made = [target.call("POST", f"{API}/sobjects/Lead", {"LastName": "to change", "Company": f"{n}"})["id"] for n in range(3)]
    Path("change.yml").write_text("- object: Lead\n  fields:\n    Title: changed of ${{input.Company}}\n")
    task("update_data", "into", object="Lead", recipe="change.yml", where="LastName = 'to change'", fields="Company", api="bulk")
    target.holds("Lead", {one: {"Title": f"changed of {n}", "LastName": "to change"} for n, one in enumerate(made)})
    return "three leads by a recipe"


@judge.capability("snowfakery")
def _():
    recipe = "- object: Account\n  fields:\n    Name: generated\n    Ext_Id__c: CS-${{id}}\n    Industry: Media\n"
    recipe += "  friends:\n    - object: Contact\n      fields:\n        LastName: made ${{id}}\n        Ext_Id__c: CS-${{id}}\n        AccountId: {reference: Account}\n"
    Path("recipe.yml").write_text(recipe)
    task("snowfakery", "into", recipe="recipe.yml", run_until_recipe_repeated="5")
    accounts = {row["Ext_Id__c"]: row["Id"] for row in target.rows("SELECT Id, Ext_Id__c FROM Account WHERE Name = 'generated'")}
    assert accounts.keys() == {f"CS-{n}" for n in range(1, 6)}, accounts
    target.holds("Contact", {f"CS-{n}": {"LastName": f"made {n}", "AccountId": accounts[f"CS-{n}"]} for n in range(1, 6)}, key="Ext_Id__c")
    return "five accounts and their contacts"


# It looks for a newer version of itself once an hour.
Path.home().joinpath(".cumulusci").mkdir()
Path.home().joinpath(".cumulusci/cumulus_timestamp").write_text(str(time.time()))
# Its tasks want a project, and a project is a repository.
subprocess.run(["git", "init", "--quiet", "."], check=True)
Path("cumulusci.yml").write_text(
    "minimum_cumulusci_version: '4.0.0'\nproject:\n  name: judged\n  package:\n    name: judged\n    api_version: '60.0'\n"
)
judge.run()
