"""The comparison against two tiny orgs: a faithful copy passes, every seeded corruption fails."""

import contextlib
import copy
import http.server
import io
import json
import os
import re
import sys
import tempfile
import threading
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import compare  # noqa: E402
from leaks import Originals  # noqa: E402
from records import normal  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = 7  # several pages even of tiny objects

SPEC = {
    "username_suffix": ".sandbox",
    "lookups": {
        "owner": [{"object": "User", "by": ["Username"], "suffix": True}],
        "record_type": [{"object": "RecordType", "by": ["SobjectType", "DeveloperName"]}],
    },
    "objects": [
        {
            "name": "Account",
            "key": ["Ext_Id__c"],
            "equal": ["Industry", "AnnualRevenue"],
            "masked": ["Name", "Phone"],
            "redacted": ["Notes__c"],
            "references": {"ParentId": ["Account"], "Primary_Contact__c": ["Contact"]},
            "lookups": {"OwnerId": "owner", "RecordTypeId": "record_type"},
            "classified": {"Phone": "phone"},
        },
        {
            "name": "Contact",
            "key": ["Ext_Id__c"],
            "equal": ["Title"],
            "masked": ["LastName", "Email", "MRN__c"],
            "references": {"AccountId": ["Account"], "ReportsToId": ["Contact"]},
            "classified": {"Email": "email", "MRN__c": "identifier"},
        },
        {
            "name": "Task",
            "equal": ["Subject", "Description"],
            "references": {"WhoId": ["Contact", "Lead"], "WhatId": ["Account"]},
        },
        {"name": "Step__c", "equal": ["Label__c"], "references": {"After__c": ["Step__c"]}},
    ],
}


def record_id(prefix, org, number):
    return f"{prefix}{org}{number:011d}AAA"


def orgs():
    """A source org, and its faithful masked copy with ids, users and record types of its own."""
    source, target = {}, {}
    for org, data in (("S", source), ("T", target)):
        masked = org == "T"
        suffix = ".sandbox" if masked else ""
        # The target numbers its records backwards: nothing may depend on the order.
        number = (lambda n: 900 - n) if masked else (lambda n: n)
        account = lambda n: record_id("001", org, number(n))  # noqa: E731
        contact = lambda n: record_id("003", org, number(n))  # noqa: E731
        step = lambda n: record_id("a00", org, number(n))  # noqa: E731
        data["User"] = [{"Id": record_id("005", org, n), "Username": f"user{n}@corp.example{suffix}"} for n in range(2)]
        data["RecordType"] = [
            {"Id": record_id("012", org, n), "SobjectType": "Account", "DeveloperName": f"Kind{n}"} for n in range(2)
        ]
        data["Account"] = [
            {
                "Id": account(n),
                "Ext_Id__c": f"ACC-{n:04d}",
                "Industry": ["Banking", None][n % 2],
                "AnnualRevenue": 1000 if masked else 1000.0,
                "Name": f"Fake {n}" if masked else f"Firm {n}",
                "Phone": f"(000) 555-{n:04d}" if masked else f"(415) 867-{5300 + n}",
                "Notes__c": None if masked else "knows something",
                "ParentId": account(n // 2) if n else None,
                "Primary_Contact__c": contact(n),
                "OwnerId": record_id("005", org, n % 2),
                "RecordTypeId": record_id("012", org, n % 2),
            }
            for n in range(20)
        ]
        data["Contact"] = [
            {
                "Id": contact(n),
                "Ext_Id__c": f"CON-{n:04d}",
                "Title": "CEO",
                "LastName": f"Mask{n}" if masked else f"Person{n}",
                "Email": f"u{n}@masked.invalid" if masked else f"Person{n}@corp.example",
                "MRN__c": f"X{n}0000000" if masked else f"MRN{3486000 + n}",
                "AccountId": account(n % 20),
                "ReportsToId": contact(n - 1) if n else None,
            }
            for n in range(40)
        ]
        data["Task"] = [
            {
                "Id": record_id("00T", org, number(n)),
                "Subject": "Call",
                "Description": "nothing of note",
                "WhoId": contact(n % 10),  # three equal tasks per person
                "WhatId": account(0),
            }
            for n in range(30)
        ]
        # Chains without any key: only the place in the chain tells the records apart.
        data["Step__c"] = [
            {"Id": step(n), "Label__c": "step", "After__c": step(n - 1) if n % 5 else None} for n in range(15)
        ]
        data["Lead"] = []
    return source, target


class FakeOrg(http.server.ThreadingHTTPServer):
    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = data
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet

    def do_GET(self):
        if self.headers.get("Authorization") != "Bearer token":
            return self.answer(401, [{"errorCode": "INVALID_SESSION_ID", "message": ""}])
        url = urllib.parse.urlsplit(self.path)
        base = "/services/data/v65.0/"
        if described := re.fullmatch(base + r"sobjects/(\w+)/describe", url.path):
            rows = self.server.data[described[1]]
            names = rows[0].keys() if rows else []
            return self.answer(200, {"fields": [{"name": n, "type": "string", "createable": n != "Id"} for n in names]})
        if url.path == base + "query":
            soql, start = urllib.parse.parse_qs(url.query)["q"][0], 0
        else:
            token = urllib.parse.unquote(url.path.removeprefix(base + "query/"))
            soql, _, start = token.rpartition("-")
            start = int(start)
        fields, name = re.fullmatch(r"SELECT (.+) FROM (\w+)(?: WHERE .+?)?(?: LIMIT \d+)?", soql).groups()
        rows = self.server.data[name]
        page = {
            "totalSize": len(rows),
            "done": start + PAGE >= len(rows),
            "records": [
                {"attributes": {"type": name}, **{f: row.get(f) for f in fields.split(", ")}}
                for row in rows[start : start + PAGE]
            ],
        }
        if not page["done"]:
            page["nextRecordsUrl"] = base + "query/" + urllib.parse.quote(f"{soql}-{start + PAGE}", safe="")
        self.answer(200, page)

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class ComparisonTest(unittest.TestCase):
    def setUp(self):
        self.source, self.target = orgs()
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.dir = self.temporary.name

    def run_compare(self, scan=(), token="token", spec=None):
        path = os.path.join(self.dir, "spec.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(spec or SPEC, file)
        out = io.StringIO()
        with contextlib.ExitStack() as stack:
            left = stack.enter_context(FakeOrg(self.source))
            right = stack.enter_context(FakeOrg(self.target))
            for server in (left, right):
                stack.callback(server.shutdown)
            given = ["--source-url", left.url, "--source-token", token, "--target-url", right.url, "--target-token", "token"]
            given += ["--spec", path]
            for place in scan:
                given += ["--scan-dir", place]
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = compare.main(given)
        return code, out.getvalue()

    def assert_equal(self, **options):
        code, text = self.run_compare(**options)
        self.assertEqual(code, 0, text)
        return text

    def assert_different(self, *wanted, **options):
        code, text = self.run_compare(**options)
        self.assertEqual(code, 1, text)
        for words in wanted:
            self.assertIn(words, text)
        return text

    def test_a_faithful_masked_copy_is_equal(self):
        text = self.assert_equal()
        self.assertRegex(text, r"Step__c +15 +15 +15")
        self.assertIn("40 emails, 20 phones, 40 identifiers", text)

    def test_a_swapped_parent_is_found(self):
        one, other = self.target["Contact"][3], self.target["Contact"][4]
        one["AccountId"], other["AccountId"] = other["AccountId"], one["AccountId"]
        text = self.assert_different("Contact.AccountId: link differs: 2")
        self.assertIn(one["Id"], text)

    def test_a_swapped_parent_among_records_without_keys_is_found(self):
        rows = self.target["Task"]
        rows[0]["WhoId"] = next(row["WhoId"] for row in rows if row["WhoId"] != rows[0]["WhoId"])
        self.assert_different("Task: missing in target: 1", "Task: extra in target: 1")

    def test_a_chain_tied_differently_is_found(self):
        steps = self.target["Step__c"]
        tail = next(row for row in steps if row["Id"] not in {other["After__c"] for other in steps})
        tail["After__c"] = next(row["Id"] for row in steps if row["After__c"] is None)
        self.assert_different("Step__c: missing in target", "Step__c: extra in target")

    def test_a_self_reference_to_another_record_is_found(self):
        self.target["Account"][5]["ParentId"] = self.target["Account"][5]["Id"]
        self.assert_different("Account.ParentId: link differs: 1")

    def test_a_reference_back_to_the_source_is_found(self):
        self.target["Contact"][5]["AccountId"] = self.source["Account"][5]["Id"]
        self.assert_different("Contact.AccountId: link differs: 1")

    def test_a_lost_child_is_found(self):
        lost = self.target["Contact"].pop()
        self.target["Contact"] = [
            {**row, "ReportsToId": None if row["ReportsToId"] == lost["Id"] else row["ReportsToId"]}
            for row in self.target["Contact"]
        ]
        self.assert_different("Contact: count: 1", "Contact: missing in target: 1")

    def test_a_lost_reference_is_found(self):
        self.target["Account"][2]["Primary_Contact__c"] = None
        self.assert_different("Account.Primary_Contact__c: link differs: 1")

    def test_a_duplicated_record_is_found(self):
        extra = {**self.target["Contact"][0], "Id": record_id("003", "T", 5000)}
        self.target["Contact"].append(extra)
        self.assert_different("Contact: count: 1", "Contact: extra in target: 1")

    def test_a_duplicated_record_without_a_key_is_found(self):
        self.target["Task"].append({**self.target["Task"][0], "Id": record_id("00T", "T", 5000)})
        self.assert_different("Task: count: 1", "Task: extra in target: 1")

    def test_one_unmasked_phone_is_found_twice_over(self):
        row = self.target["Account"][7]
        row["Phone"] = next(a["Phone"] for a in self.source["Account"] if a["Ext_Id__c"] == row["Ext_Id__c"])
        text = self.assert_different("Account.Phone: keeps its own value: 1", "Account.Phone: source number in target: 1")
        self.assertNotIn(row["Phone"], text)

    def test_somebody_elses_phone_in_another_notation_is_a_leak(self):
        self.target["Account"][7]["Phone"] = "+1 415.867.5303"
        self.assert_different("Account.Phone: source number in target: 1")

    def test_an_email_inside_long_text_is_found(self):
        both = [next(t for t in org["Task"] if t["WhoId"].endswith(end)) for org, end in
                ((self.source, record_id("003", "S", 0)[3:]), (self.target, record_id("003", "T", 900)[3:]))]
        for row in both:
            row["Description"] = "lorem ipsum " * 500 + "<PERSON11@corp.example>. " + "dolor " * 500
        text = self.assert_different("Task.Description: source email in target: 1")
        self.assertNotIn("PERSON11", text)

    def test_an_identifier_in_a_field_the_specification_does_not_name_is_found(self):
        for row in self.target["Contact"]:
            row["Hidden__c"] = None
        self.target["Contact"][4]["Hidden__c"] = "see mrn3486001, twice"
        self.assert_different("Contact.Hidden__c: source identifier in target: 1")

    def test_a_changed_unmasked_value_is_found(self):
        self.target["Contact"][9]["Title"] = "CFO"
        self.assert_different("Contact.Title: value differs: 1")

    def test_a_masked_value_that_vanished_is_found(self):
        self.target["Contact"][9]["LastName"] = None
        self.assert_different("Contact.LastName: masked null: 1")

    def test_a_field_with_values_that_the_specification_forgot_is_found(self):
        for org in (self.source, self.target):
            for row in org["Contact"]:
                row["Forgotten__c"] = None
        self.assert_equal()
        self.source["Contact"][4]["Forgotten__c"] = "x"
        self.assert_different("Contact.Forgotten__c: holds values but is not compared: 1")

    def test_what_should_be_redacted_is_found(self):
        self.target["Account"][9]["Notes__c"] = "still here"
        self.assert_different("Account.Notes__c: not redacted: 1")

    def test_a_wrong_owner_or_record_type_is_found(self):
        row = self.target["Account"][0]
        row["OwnerId"] = next(u["Id"] for u in self.target["User"] if u["Id"] != row["OwnerId"])
        row["RecordTypeId"] = None
        self.assert_different("Account.OwnerId: name differs: 1", "Account.RecordTypeId: name differs: 1")

    def test_an_owner_missing_in_the_target_may_have_a_declared_default(self):
        spec = copy.deepcopy(SPEC)
        spec["lookups"]["owner"][0]["default"] = ["user0@corp.example.sandbox"]
        stand_in, gone = (user["Id"] for user in self.target["User"])
        self.target["User"].pop()
        for row in self.target["Account"]:
            if row["OwnerId"] == gone:
                row["OwnerId"] = stand_in
        self.assert_equal(spec=spec)
        self.assert_different("Account.OwnerId: name differs: 10")

    def test_a_leaked_value_in_a_scanned_directory_is_found(self):
        leaks = {
            "stream.blk": b"\x00\xff\x17Person3@corp.example\x00\x81",
            "1259": b"\x1b(415) 867-5304\x1d(000) 555-0001",
            "deep/server.log": b'{"level":"error","key":"MRN3486007"}\n',
        }
        for name, content in leaks.items():
            with self.subTest(name):
                place = tempfile.mkdtemp(dir=self.dir)
                path = os.path.join(place, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                noise = os.urandom(200_000).replace(b"@", b" ")
                with open(path, "wb") as file:
                    file.write(noise)
                self.assert_equal(scan=[place])
                with open(path, "wb") as file:
                    file.write(noise + content + noise)
                self.assert_different(path, scan=[place])

    def test_an_empty_scan_directory_proves_nothing(self):
        self.assert_different("would prove nothing", scan=[tempfile.mkdtemp(dir=self.dir)])

    def test_two_empty_orgs_are_not_a_success(self):
        for org in (self.source, self.target):
            org["Contact"] = []
            for row in org["Account"]:
                row["Primary_Contact__c"] = None
            for row in org["Task"]:
                row["WhoId"] = None
        self.assert_different("Contact: nothing to compare: 1")

    def test_an_org_that_cannot_be_read_is_neither_equal_nor_different(self):
        code, text = self.run_compare(token="wrong")
        self.assertEqual(code, 2)
        self.assertIn("INVALID_SESSION_ID", text)
        self.assertNotIn("wrong", text)

    def test_a_misspelt_specification_is_refused(self):
        spec = copy.deepcopy(SPEC)
        spec["objects"][0]["maskd"] = ["Phone"]
        code, text = self.run_compare(spec=spec)
        self.assertEqual(code, 2)
        self.assertIn("maskd", text)

    def test_the_demos_specification_is_well_formed(self):
        names = [entry.name for entry in compare.Spec(os.path.join(HERE, "demo.json")).objects]
        self.assertEqual(len(names), 12)


class NormalFormTest(unittest.TestCase):
    def test_values_that_mean_the_same_are_the_same(self):
        for one, other in [
            (1, 1.0),
            (100, 1e2),
            (0, -0.0),
            ("", None),
            ("  a ", "a"),
            ("2024-05-01T10:00:00.000+0000", "2024-05-01T12:00:00.000+02:00"),
            ("2024-05-01T10:00:00.000Z", "2024-05-01T10:00:00+0000"),
        ]:
            self.assertEqual(normal(one), normal(other))
        for one, other in [("1", "01"), ("a", "A"), (0.1, 0.10000001), (True, None), ("2024-05-01", "2024-05-02")]:
            self.assertNotEqual(normal(one), normal(other))


class OriginalsTest(unittest.TestCase):
    def setUp(self):
        self.originals = Originals()
        for kind, value in [
            ("email", "Jane.Doe@corp.example"),
            ("phone", "+1 (415) 867-5309 x12"),
            ("phone", "+49 30 1234567"),
            ("identifier", "MRN-0042-17"),
            ("identifier", "078-05-1120"),
        ]:
            self.originals.add(kind, value)

    def test_originals_are_found_however_they_are_wrapped(self):
        for text in [
            "jane.doe@corp.example",
            "mailto:JANE.DOE@CORP.EXAMPLE?subject=x",
            "xxjane.doe@corp.example.",
            "a@b.cojane.doe@corp.examplenext@x.yz",
            "4158675309",
            "call 1-415-867-5309 or",
            "tel:+14158675309;ext=12",
            "49301234567",
            "id mrn-0042-17.",
            "ssn 078051120",
            "12 078 05 1120 99",
        ]:
            self.assertTrue(self.originals.in_text(text), text)

    def test_others_are_not(self):
        for text in ["jane.doe@corp.test", "john@corp.example", "415-867-5308", "86753", "MRN-0042-18", "2024-05-01 10:00"]:
            self.assertEqual(self.originals.in_text(text), set(), text)

    def test_short_values_are_counted_but_not_searched(self):
        self.originals.add("identifier", "1234")
        self.originals.add("phone", "911")
        self.assertEqual(self.originals.too_short, 2)
        self.assertEqual(self.originals.in_text("1234 911"), set())


if __name__ == "__main__":
    unittest.main()
