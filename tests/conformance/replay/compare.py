"""How an answer differs from the recorded one: status, keys, JSON types, error codes, and the words that carry meaning.

A difference is (kind, path, recorded, found); list positions in a path are `[]`. What may differ freely is what another
org has otherwise: ids, addresses, times, and the figures outside records.
"""

import json

# Kinds that no reason excuses.
NEVER_TOLERATED = ("status", "type", "null", "code")
# An error is known by these; the texts beside them may be reworded, if that is listed.
CODES = ("errorCode", "statusCode", "error", "exceptionCode")
# Texts and flags that say what happened, whatever the data.
MEANINGS = (
    "success", "created", "done", "referenceId", "hasErrors", "state", "operation", "object",
    "concurrencyMode", "contentType", "lineEnding", "columnDelimiter", "totalSize", "name", "fieldNameOrPath", "encoding",
)  # fmt: skip
TEXTS = ("message", "error_description")


def kind_of(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {str: "string", list: "array", dict: "object"}[type(value)]


def differences(recorded, found, meanings=MEANINGS):
    """Between two (status, body) pairs."""
    if recorded[0] != found[0]:
        yield ("status", "", recorded[0], found[0])
    yield from _values(recorded[1], found[1], "", meanings)


def _values(recorded, found, path, meanings):
    was, has = kind_of(recorded), kind_of(found)
    if was != has:
        # Null instead of a value may come from data that was not prepared; other types never do.
        yield ("null" if "null" in (was, has) else "type", path, was, has)
    elif was == "object":
        yield from _keys(recorded, found, path, meanings)
    elif was == "array":
        yield from _items(recorded, found, path, meanings)
    elif was == "number" and isinstance(recorded, int) != isinstance(found, int):
        yield ("number", path, recorded, found)


def _keys(recorded, found, path, meanings):
    for name in recorded:
        at = f"{path}.{name}"
        if name not in found:
            yield ("missing", at, kind_of(recorded[name]), None)
            continue
        was, has = recorded[name], found[name]
        yield from _values(was, has, at, meanings)
        if isinstance(was, dict | list) or kind_of(was) != kind_of(has) or was == has:
            continue
        if name == "httpStatusCode":
            yield ("status", at, was, has)
        elif name in CODES:
            yield ("code", at, was, has)
        elif name in TEXTS:
            yield ("text", at, was, has)
        elif name in meanings or (name == "type" and path.endswith("attributes")):
            yield ("meaning", at, was, has)
        elif "attributes" in recorded and not _is_the_orgs_own(name, was):
            yield ("value", at, was, has)
    for name in found:
        if name not in recorded:
            yield ("extra", f"{path}.{name}", None, kind_of(found[name]))


def _is_the_orgs_own(name, value):
    """Ids, and the times at which the org did something."""
    return name.endswith("Id") or (isinstance(value, str) and value.endswith(".000+0000") and name.endswith(("Date", "Modstamp")))


def _items(recorded, found, path, meanings):
    if len(recorded) != len(found):
        yield ("length", f"{path}[]", len(recorded), len(found))
    for was, has in zip(recorded, found, strict=False):
        yield from _values(was, has, f"{path}[]", meanings)


def damaged(answer):
    """The answer with one thing wrong, once for each kind of thing: (kind, status, body)."""
    status, body = answer
    yield ("status", 500 if status != 500 else 200, body)
    text = json.dumps(body)
    for kind, change in (("type", _change_type), ("code", _change_code), ("missing", _drop_key), ("extra", _add_key)):
        copy = json.loads(text)
        if isinstance(copy, dict | list) and change(copy):
            yield (kind, status, copy)


def _walk(value):
    """Objects, the deepest last."""
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(one)


def _change_type(body):
    objects = list(_walk(body))
    for one in reversed(objects):
        for name, value in one.items():
            if isinstance(value, bool | int | float | str):
                one[name] = [value]
                return True
    if isinstance(body, list) and body and isinstance(body[0], str):
        body[0] = 1
        return True
    return False


def _change_code(body):
    for one in _walk(body):
        for name in CODES:
            if isinstance(one.get(name), str):
                one[name] = "SOMETHING_ELSE"
                return True
    return False


def _drop_key(body):
    for one in _walk(body):
        if one:
            one.pop(next(iter(one)))
            return True
    return False


def _add_key(body):
    for one in _walk(body):
        one["neverHeardOf"] = 1
        return True
    return False
