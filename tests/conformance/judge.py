"""What a client's script stands on: capabilities that print rows, and a look at the org that is not the client's.

The look is plain REST over urllib and `/__sim`: nothing of any client. With CONFORMANCE_CORRUPT=1 every look damages
one record behind the client's back, so a capability that does not compare values shows itself by passing.
"""

import json
import os
import re
import sys
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

API = "/services/data/v65.0"
REQUEST_SECONDS = 60
ID = re.compile("[0-9A-Za-z]{15}([0-9A-Z]{3})?")


class Org:
    """One running org. Its facts (https_url, token, username, …) are attributes."""

    def __init__(self, facts):
        self.facts = facts
        self.damages = 0
        self.corrupting = os.environ.get("CONFORMANCE_CORRUPT") == "1"

    def __getattr__(self, name):
        try:
            return self.facts[name]
        except KeyError:
            raise AttributeError(name) from None

    def call(self, method, path, body=None):
        """The answer's JSON, None if there is none; errors are raised with their body."""
        text = self._send(method, path, None if body is None else json.dumps(body).encode(), "application/json")
        return json.loads(text) if text else None

    def upload(self, path, text):
        self._send("PUT", path, text.encode(), "text/csv")

    def _send(self, method, path, data, kind):
        headers = {"authorization": f"Bearer {self.facts['token']}", "content-type": kind}
        request = urllib.request.Request(self.facts["url"] + path, method=method, headers=headers, data=data)
        # Never by way of the proxy that a client may need.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=REQUEST_SECONDS) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:300]}") from error

    def rows(self, soql, everything=False):
        """Records of every page, without `attributes`; a parent's field under its path (`Account.Name`)."""
        path = f"{API}/{'queryAll' if everything else 'query'}?{urllib.parse.urlencode({'q': soql})}"
        found = []
        while path:
            page = self.call("GET", path)
            found += [flat(record) for record in page["records"]]
            path = page.get("nextRecordsUrl")
        return found

    def count(self, where):
        """`Account WHERE …`"""
        return self.call("GET", f"{API}/query?{urllib.parse.urlencode({'q': f'SELECT COUNT() FROM {where}'})}")["totalSize"]

    def truth(self, soql):
        """What a client that reads these records must find. Name a text field first behind Id."""
        found = self.rows(soql)
        assert found, f"nothing to compare: {soql}"
        if self.corrupting:
            self._damage(found[-1])
        return found

    def holds(self, object_name, wanted, key="Id"):
        """Each record, by its key, holds these values; absence is None instead of values."""
        if self.corrupting:
            self._damage_one(object_name, wanted, key)
        fields = sorted({key, *(name for values in wanted.values() if values for name in values)})
        keys = ",".join("'" + str(one).replace("\\", "\\\\").replace("'", "\\'") + "'" for one in wanted)
        rows = self.rows(f"SELECT {','.join(fields)} FROM {object_name} WHERE {key} IN ({keys})")
        found = {row[key]: row for row in rows}
        assert len(found) == len(rows), f"{object_name}: {len(rows)} records for {len(found)} keys"
        for one, values in wanted.items():
            if values is None:
                assert one not in found, f"{object_name} {one} is still there"
                continue
            assert one in found, f"{object_name} {one} is not there"
            has = {name: found[one][name] for name in values}
            assert has == values, f"{object_name} {one}: {difference(values, has)}"

    def _damage_one(self, object_name, wanted, key):
        one, values = next((item for item in wanted.items() if item[1]), (None, None))
        assert values, "a look at absence alone cannot be wrong: name a record that stays"
        quoted = str(one).replace("'", "\\'")
        row = self.rows(f"SELECT Id FROM {object_name} WHERE {key} = '{quoted}'")
        if row:
            self._damage({"Id": row[0]["Id"], **values})

    def _damage(self, row):
        field = next(name for name, value in row.items() if name != "Id" and "." not in name and isinstance(value, str) and not ID.fullmatch(value))
        self.damages += 1
        self.call("PATCH", f"/__sim/records/{row['Id']}", {field: f"damaged {self.damages}"})


def flat(record, prefix=""):
    row = {}
    for name, value in record.items():
        if name == "attributes":
            continue
        if isinstance(value, dict) and "attributes" in value:
            row |= flat(value, f"{prefix}{name}.")
        else:
            row[prefix + name] = value
    return row


def difference(wanted, has):
    """The first fields that differ, short."""
    names = [name for name in wanted if wanted[name] != has.get(name)]
    return ", ".join(f"{name} is {has.get(name)!r}, not {wanted[name]!r}" for name in names[:3])


def same(wanted, has, key="Id"):
    """Both lists hold the same records with the same values, in any order."""
    wanted, found = {row[key]: row for row in wanted}, {row[key]: row for row in has}
    assert len(found) == len(has), f"{len(has)} records, of which {len(has) - len(found)} are twice"
    assert found.keys() == wanted.keys(), f"{len(found)} records, not {len(wanted)}"
    for one, row in wanted.items():
        assert found[one] == row, f"{one}: {difference(row, found[one])}"
    return f"{len(wanted)} records"


def as_csv(rows):
    """The records as Bulk API writes them: every value a text."""

    def text(value):
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value).replace("+0000", "Z") if isinstance(value, str) and value.endswith(".000+0000") else str(value)

    return [{name: text(value) for name, value in row.items()} for row in rows]


def refused(kind, call):
    """The exception of that kind which the call must raise."""
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"accepted: {str(answer)[:200]}")


class Judge:
    """Collects a client's capabilities and runs them in order; each prints one row, whatever befalls the others."""

    def __init__(self):
        self.client = os.environ["CONFORMANCE_CLIENT"]
        self.ca = os.environ["CONFORMANCE_CA"]
        self.proxy = os.environ["CONFORMANCE_PROXY"]
        self.tools = os.environ["CONFORMANCE_TOOLS"]
        self.capabilities = []

    @staticmethod
    def org(name="source"):
        with open(os.environ[f"CONFORMANCE_ORG_{name.upper()}"], encoding="utf-8") as facts:
            return Org(json.load(facts))

    def capability(self, name):
        def remember(function):
            self.capabilities.append((name, function))
            return function

        return remember

    def run(self):
        for name, function in self.capabilities:
            began = time.monotonic()
            try:
                detail, holds = function() or "", True
            except Exception as error:  # noqa: BLE001: whatever a client raises is a row that fails
                traceback.print_exc(file=sys.stderr)
                detail, holds = f"{type(error).__name__}: {error}", False
            print(f"{name}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
            row = {"client": self.client, "capability": name, "pass": holds, "detail": " ".join(str(detail).split())[:400]}
            print(json.dumps(row), file=ROWS, flush=True)


# Rows alone go to standard output: what a client's library prints there is moved to standard error.
ROWS = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
