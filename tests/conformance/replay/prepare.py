"""Brings an org into the state in which a recorded answer is the right one, by REST alone: the records that the answer
shows are created with the values it shows, the records that it would show otherwise are deleted.

Ids are the org's own; a recorded id stands for the id of the record that was made for it.
"""

import re
from urllib.parse import parse_qs, urlsplit

FILLERS = {
    "date": "2026-01-31", "datetime": "2026-01-31T09:00:00.000Z", "time": "09:00:00.000Z", "email": "filler@recording.example",
    "int": 60, "double": 1, "currency": 1, "percent": 1, "long": 1,
}  # fmt: skip


class Unprepared(AssertionError):
    """The org cannot be brought into the state."""


class Preparer:
    def __init__(self, org):
        self.org = org
        self.ids = {}

    # What a request and its recorded answer imply.

    def exchange(self, method, path, body, answer):
        parts = urlsplit(path)
        segments = [s for s in re.sub(r"^/?services/data/[^/]+", "", parts.path).split("/") if s]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match (method, *segments):
            case ("GET", "query", *_) if "q" in query:
                self.query(query["q"], answer)
            case ("GET", "limits", "recordCount"):
                self.record_count(query.get("sObjects", ""), answer)
            case ("GET", "sobjects", name, str() as one) if one != "describe":
                self.single(name, one, answer)
            case ("PATCH", "composite", "sobjects", name, key):
                self.upsert(name, key, body["records"], answer)
            case ("POST", "composite"):
                for request, reply in zip(body["compositeRequest"], answer["compositeResponse"], strict=False):
                    self.exchange(request["method"], request["url"], request.get("body"), reply["body"])

    def query(self, soql, answer):
        if not isinstance(answer, dict):
            return
        name = object_of(soql)
        if name is None or not self.is_createable(name):
            return
        records = answer["records"]
        if re.search(r"count\(\s*\w*\s*\)", soql, re.IGNORECASE):
            counted = records[0]["expr0"] if records else answer["totalSize"]
            self.have_count(name, counted)
        else:
            self.have(name, records)

    def record_count(self, name, answer):
        counted = next((one["count"] for one in answer["sObjects"] if one["name"] == name), 0)
        if name and self.is_createable(name):
            self.have_count(name, counted)

    def single(self, name, recorded, answer):
        if self.is_createable(name):
            if recorded not in self.ids:
                self.ids[recorded] = self.create(name, answer)
        else:
            self.ids[recorded] = self.first(name)
            self.set_up(name, self.ids[recorded], answer)

    def set_up(self, name, one, answer):
        """What no request can write, such as the org's own edition, is set by the simulator's control."""
        fields = {field["name"]: field for field in self.org.describe(name)["fields"]}
        own = ("id", "reference", "address")
        values = {n: v for n, v in answer.items() if n in fields and fields[n]["type"] not in own and not fields[n]["defaultedOnCreate"]}
        values = {n: v.replace("+0000", "Z") if fields[n]["type"] == "datetime" and v else v for n, v in values.items()}
        self.org.do("PATCH", f"/__sim/records/{one}", values)

    def upsert(self, name, key, records, answer):
        """Keys that were updated exist, those that were inserted do not."""
        for record, result in zip(records, answer, strict=True):
            value = record[key]
            if result.get("created") is not False:
                continue
            values = {n: v for n, v in record.items() if n not in ("attributes", "Id")}
            if key == "Id":
                if value not in self.ids:
                    self.ids[value] = self.create(name, values)
            elif not self.org.rows(f"SELECT Id FROM {name} WHERE {key} = '{value}'"):
                self.ids[result["id"]] = self.create(name, values)

    def first(self, name):
        return next((row["Id"] for row in self.org.rows(f"SELECT Id FROM {name} LIMIT 1")), None)

    # Records.

    def is_createable(self, name):
        status, describe = self.org.send("GET", f"sobjects/{name}/describe")
        return status == 200 and describe["createable"]

    def have_count(self, name, count):
        found = [row["Id"] for row in self.org.rows(f"SELECT Id FROM {name}")]
        for one in found[count:] if self.org.describe(name)["deletable"] else ():
            self.org.do("DELETE", f"sobjects/{name}/{one}")
        for _ in range(count - len(found)):
            self.create(name, {})

    def have(self, name, records):
        """These and no others; of what cannot be deleted, such as users, as many."""
        if not self.org.describe(name)["deletable"]:
            self.have_count(name, len(records))
            return
        wanted = [id_of(record) for record in records]
        kept = {self.ids.get(one) for one in wanted}
        for row in self.org.rows(f"SELECT Id FROM {name}"):
            if row["Id"] not in kept:
                self.org.send("DELETE", f"sobjects/{name}/{row['Id']}")
        alive = {row["Id"] for row in self.org.rows(f"SELECT Id FROM {name}")}
        for one, record in zip(wanted, records, strict=True):
            if self.ids.get(one) in alive:
                self.change(name, self.ids[one], record)
            else:
                self.ids[one] = self.create(name, record)
            self.children(name, self.ids[one], record)

    def change(self, name, one, record):
        values = self.values(name, record, "updateable")
        if values:
            self.org.do("PATCH", f"sobjects/{name}/{one}", values)

    def create(self, name, record):
        values = self.values(name, record, "createable")
        for field in self.org.describe(name)["fields"]:
            required = field["createable"] and not field["nillable"] and not field["defaultedOnCreate"]
            if required and field["type"] != "boolean" and field["name"] not in values:
                values[field["name"]] = self.filler(field)
        return self.org.do("POST", f"sobjects/{name}", values)["id"]

    def values(self, name, record, may):
        fields = {field["name"]: field for field in self.org.describe(name)["fields"]}
        relations = {field["relationshipName"]: field for field in fields.values() if field["relationshipName"]}
        values = {}
        for key, value in record.items():
            if isinstance(value, dict) and "attributes" in value and key in relations:
                if relations[key][may]:
                    values[relations[key]["name"]] = self.parent(value)
            elif value is not None and not isinstance(value, dict | list) and key in fields and fields[key][may]:
                values[key] = self.reference(fields[key], value) if fields[key]["type"] == "reference" else value
        return {key: value for key, value in values.items() if value is not None}

    def parent(self, record):
        one = id_of(record)
        if one not in self.ids:
            self.ids[one] = self.create(record["attributes"]["type"], record)
        return self.ids[one]

    def reference(self, field, recorded):
        if recorded not in self.ids:
            name = next((name for name in field["referenceTo"] if self.is_createable(name)), None)
            # Record types and the like are the org's own: one is as good as another.
            self.ids[recorded] = self.create(name, {}) if name else self.first(field["referenceTo"][0])
        return self.ids[recorded]

    def children(self, name, one, record):
        relations = {c["relationshipName"]: c for c in self.org.describe(name)["childRelationships"]}
        for key, value in record.items():
            if not isinstance(value, dict) or "records" not in value:
                continue
            if key not in relations:
                raise Unprepared(f"{name} has no children {key}")
            relation = relations[key]
            for child in value["records"]:
                made = self.ids.get(id_of(child))
                if made is None:
                    made = self.create(relation["childSObject"], child | {relation["field"]: id_of(record)})
                    self.ids[id_of(child)] = made

    def filler(self, field):
        if field["type"] == "reference":
            return self.reference(field, f"filler of {field['name']}")
        if field["type"] in ("picklist", "multipicklist") and field["picklistValues"]:
            return next(v["value"] for v in field["picklistValues"] if v["active"])
        return FILLERS.get(field["type"], "filler")

    # Ids.

    def own(self, text):
        """The text with recorded ids replaced by the org's."""
        return re.sub(r"[0-9A-Za-z]{18}", lambda found: self.ids.get(found[0]) or found[0], text)

    def learn(self, recorded, found):
        """Ids that stand at the same place mean the same record."""
        if isinstance(recorded, dict) and isinstance(found, dict):
            for name in recorded.keys() & found.keys():
                if name in ("id", "Id") and isinstance(recorded[name], str) and isinstance(found[name], str):
                    self.ids[recorded[name]] = found[name]
                self.learn(recorded[name], found[name])
        elif isinstance(recorded, list) and isinstance(found, list):
            for was, has in zip(recorded, found, strict=False):
                self.learn(was, has)

    def aligned(self, recorded, found):
        """The answer with its records in the recorded order; a query without ORDER BY promises none."""
        if isinstance(recorded, dict) and isinstance(found, dict):
            return {name: self.aligned(recorded[name], value) if name in recorded else value for name, value in found.items()}
        if not (isinstance(recorded, list) and isinstance(found, list)):
            return found
        places = {self.ids.get(id_of(record)): place for place, record in enumerate(recorded)}
        if None not in places:
            found = sorted(found, key=lambda record: places.get(id_of(record), len(places)))
        return [self.aligned(was, has) for was, has in zip(recorded, found, strict=False)] + found[len(recorded) :]


def id_of(record):
    """The attributes name the record even where Id was not selected, and where Id was anonymised."""
    if not isinstance(record, dict):
        return None
    url = record.get("attributes", {}).get("url", "") if isinstance(record.get("attributes"), dict) else ""
    return url.rsplit("/", 1)[-1] or None


def object_of(soql):
    """What stands behind the outermost FROM."""
    while (flat := re.sub(r"\([^()]*\)", " ", soql)) != soql:
        soql = flat
    found = re.search(r"\bfrom\s+(\w+)", soql, re.IGNORECASE)
    return found[1] if found else None
