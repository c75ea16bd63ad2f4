"""What a comparison covers (the JSON specification), and how records of two orgs are paired and compared.

Ids differ between orgs, so every record gets an *identity* that does not: its key (an external id) where it has one;
otherwise the signature of all its unmasked values together with the identities of what it points to, refined until it
no longer tells more records apart. Records with the same identity are interchangeable and compared as a multiset.
"""

import datetime
import decimal
import hashlib
import json
import re

ROUNDS_MAX = 32
DATETIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$")
NULL_REFERENCE = ("null",)


class SpecError(Exception):
    pass


class ObjectSpec:
    KEYS = {
        "name", "key", "equal", "masked", "redacted", "references", "lookups", "classified", "where", "may_be_empty", "comment",
    }

    def __init__(self, raw):
        unknown = set(raw) - self.KEYS
        if unknown:
            raise SpecError(f"{raw.get('name', 'an object')}: unknown entries {sorted(unknown)}")
        self.name = raw["name"]
        self.key = raw.get("key", [])
        self.equal = raw.get("equal", [])
        self.masked = raw.get("masked", [])
        self.redacted = raw.get("redacted", [])
        self.references = raw.get("references", {})
        self.lookups = raw.get("lookups", {})
        self.classified = raw.get("classified", {})
        self.where = raw.get("where")
        self.may_be_empty = raw.get("may_be_empty", False)
        covered = self.key + self.equal + self.masked + self.redacted + list(self.references) + list(self.lookups)
        twice = {field for field in covered if covered.count(field) > 1}
        if twice:
            raise SpecError(f"{self.name}: {sorted(twice)} stand in more than one list")
        for field, kind in self.classified.items():
            if kind not in ("email", "phone", "identifier"):
                raise SpecError(f"{self.name}.{field}: '{kind}' is none of email, phone, identifier")
        self.fields = list(dict.fromkeys(["Id", *covered, *self.classified]))


class Spec:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            raw = json.load(file)
        self.version = raw.get("api_version", "65.0")
        self.username_suffix = raw.get("username_suffix", "")
        self.lookups = raw.get("lookups", {})
        self.redacted_text = frozenset(raw.get("redacted_text", []))
        self.objects = [ObjectSpec(entry) for entry in raw["objects"]]
        names = {entry.name for entry in self.objects}
        for entry in self.objects:
            for field, targets in entry.references.items():
                if not set(targets) & names:
                    raise SpecError(f"{entry.name}.{field}: none of {targets} is compared")
            for field, lookup in entry.lookups.items():
                if lookup not in self.lookups:
                    raise SpecError(f"{entry.name}.{field}: no lookup '{lookup}'")


def normal(value):
    """One form for values that mean the same: null and blank, 1 and 1.0, two notations of one instant."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return decimal.Decimal(str(value)).normalize() + 0
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if len(text) >= 20 and DATETIME.match(text):
            instant = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text).replace("Z", "+00:00")
            try:
                return datetime.datetime.fromisoformat(instant).astimezone(datetime.timezone.utc).isoformat()
            except ValueError:
                return text
        return text
    return json.dumps(value, sort_keys=True)  # compound values


def digest(parts):
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


class Side:
    """One org's records, with identities."""

    def __init__(self, spec, records, names, translate):
        """`records`: object -> list; `names`: lookup -> {id -> name}; `translate` makes a source name the target's."""
        self.spec = spec
        self.records = records
        self.names = names
        self.translate = translate
        self.identity = {}  # 15-character id -> identity
        self.object_of = {}
        for entry in spec.objects:
            for record in records[entry.name]:
                self.object_of[record["Id"][:15]] = entry.name
        self.identify()

    def identify(self):
        open_records = []  # those without a key: (id, signature of values and of lookups, references)
        for entry in self.spec.objects:
            for record in self.records[entry.name]:
                short = record["Id"][:15]
                key = tuple(normal(record.get(field)) for field in entry.key)
                if key and None not in key:
                    self.identity[short] = (entry.name, *key)
                    continue
                values = digest(
                    [
                        entry.name,
                        key,
                        [normal(record.get(field)) for field in entry.equal],
                        [self.looked_up(entry, field, record.get(field)) for field in entry.lookups],
                        [record.get(field) is not None for field in entry.masked],
                    ]
                )
                self.identity[short] = (entry.name, values)
                open_records.append((short, entry.name, values, [record.get(field) for field in entry.references]))
        told_apart = len({self.identity[short] for short, *_ in open_records})
        for _ in range(ROUNDS_MAX):
            refined = {
                short: (name, digest([values, [self.pointed(reference) for reference in references]]))
                for short, name, values, references in open_records
            }
            self.identity.update(refined)
            count = len(set(refined.values()))
            if count == told_apart:
                break
            told_apart = count

    def pointed(self, reference):
        """The identity of what a reference points to; None if that is not among the compared records."""
        if not reference:
            return NULL_REFERENCE
        return self.identity.get(reference[:15])

    def looked_up(self, entry, field, reference):
        """The name behind an owner, record type, price book: in the target's words."""
        if not reference:
            return None
        name = self.names[entry.lookups[field]].get(reference[:15])
        if name is None:
            return ("unnamed", reference[:3])
        return self.translate(entry.lookups[field], name)


class Differences:
    """Found differences: object, field, ids. Never values."""

    def __init__(self):
        self.found = []

    def add(self, kind, object_name, field="", source=None, target=None):
        self.found.append((kind, object_name, field, source, target))


def group(side, entry):
    groups = {}
    for record in side.records[entry.name]:
        groups.setdefault(side.identity[record["Id"][:15]], []).append(record)
    return groups


def compare_object(entry, source, target, differences):
    """Pairs and compares one object; returns its counts."""
    counts = {"source": len(source.records[entry.name]), "target": len(target.records[entry.name])}
    counts.update(paired=0, values=0, masked=0, links=0, outside=0)
    if counts["source"] != counts["target"]:
        differences.add("count", entry.name)
    if not counts["source"] and not entry.may_be_empty:
        differences.add("nothing to compare", entry.name)
    sources, targets = group(source, entry), group(target, entry)
    for identity in sources.keys() | targets.keys():
        here, there = sources.get(identity, []), targets.get(identity, [])
        paired = min(len(here), len(there))
        counts["paired"] += paired
        for record in here[paired:]:
            differences.add("missing in target", entry.name, source=record["Id"])
        for record in there[paired:]:
            differences.add("extra in target", entry.name, target=record["Id"])
        own = {field: {folded(record.get(field)) for record in here} - {None} for field in entry.masked}
        for left, right in zip(here, there):
            compare_pair(entry, source, target, left, right, own, differences, counts)
    return counts


def folded(value):
    value = normal(value)
    return value.casefold() if isinstance(value, str) else value


def compare_pair(entry, source, target, left, right, own, differences, counts):
    def differ(kind, field):
        differences.add(kind, entry.name, field, left["Id"], right["Id"])

    for field in entry.equal:
        counts["values"] += 1
        if normal(left.get(field)) != normal(right.get(field)):
            differ("value differs", field)
    for field in entry.masked:
        counts["masked"] += 1
        masked = folded(right.get(field))
        if (folded(left.get(field)) is None) != (masked is None):
            differ("masked null", field)
        elif masked in own[field]:
            differ("keeps its own value", field)
    for field in entry.redacted:
        counts["masked"] += 1
        left_over = normal(right.get(field))
        if left_over is not None and left_over not in target.spec.redacted_text:
            differ("not redacted", field)
    for field, allowed in entry.references.items():
        counts["links"] += 1
        wanted = source.pointed(left.get(field))
        if wanted is None:
            counts["outside"] += 1
            wanted = NULL_REFERENCE  # what is not copied cannot be pointed to
        if target.pointed(right.get(field)) != wanted:
            differ("link differs", field)
        elif right.get(field) and target.object_of[right[field][:15]] not in allowed:
            differ("link to another object", field)
    for field in entry.lookups:
        counts["links"] += 1
        if source.looked_up(entry, field, left.get(field)) != target.looked_up(entry, field, right.get(field)):
            differ("name differs", field)
