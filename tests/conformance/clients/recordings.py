"""Recorded answers of real orgs, asked of the simulator again: the same status, shape, JSON types and error codes.

    recordings.py SIMULATOR             rows as every client prints them
    recordings.py SIMULATOR --list      every difference instead, tolerated or not

The recorded requests of one cassette go to one new org, in their order; recordings of an answer alone are asked for with
`requests.json`. Before each, the org is brought into the state that the answer implies (`replay/prepare.py`): the simulator is
given records, never answers. What may differ stands in `tolerated.json`, each with its reason; an entry that excuses
nothing any more is a failure, and nothing excuses a status, a type or an error code.
"""

import argparse
import json
import os
import re
import sys
import time
import traceback
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote_plus, urlencode, urlsplit

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from replay import compare  # noqa: E402
from replay.org import VERSION, running  # noqa: E402
from replay.prepare import Preparer  # noqa: E402

DATA = HERE / "recordings"
CLIENT = "recordings"
# Versions that are not served any more are asked in the oldest that is.
VERSION_MIN = 50
POLL_SECONDS = 30


class Tolerances:
    """What may differ, and how often each entry was needed."""

    def __init__(self, entries):
        self.entries = entries
        self.used = Counter()
        for entry in entries:
            if entry["kind"] in compare.NEVER_TOLERATED or not entry["reason"]:
                raise SystemExit(f"tolerated.json: nothing excuses this: {entry}")

    def allow(self, recording, difference):
        kind, path, *_ = difference
        for at, entry in enumerate(self.entries):
            if entry["kind"] == kind and matches(entry["recording"], recording) and matches(entry["at"], path):
                self.used[at] += 1
                return True
        return False

    def unused(self):
        return [entry for at, entry in enumerate(self.entries) if not self.used[at]]


def matches(pattern, text):
    """`*` is any text; alternatives stand in a list."""
    patterns = pattern if isinstance(pattern, list) else [pattern]
    return any(re.fullmatch(".*".join(map(re.escape, one.split("*"))), text) for one in patterns)


# The recordings of requests with their answers.


def cassettes():
    """Cassette by cassette: (recording, method, path, body, (status, answer))."""
    found = {}
    for number, line in enumerate((DATA / "http-interactions.cumulusci.jsonl").read_text().splitlines(), 1):
        exchange = json.loads(line)
        uri = urlsplit(exchange["uri"])
        path = current_version(uri.path) + (f"?{uri.query}" if uri.query else "")
        name = Path(exchange["cassette"]).stem
        body = request_body(exchange["requestBody"])
        answer = (exchange["status"], exchange["responseBody"])
        found.setdefault(name, []).append((f"{name}:{number}", exchange["method"], path, body, answer))
    return found


def request_body(body):
    if not isinstance(body, str):
        return with_versions(body)
    # One cassette was cut by hand into something that is no JSON; its subrequests are whole.
    parts = [json.loads(part) for part in re.findall(r'\{"method".*?"httpHeaders": \{[^}]*\}\}', body)]
    return with_versions({"compositeRequest": parts})


def with_versions(body):
    if body and "compositeRequest" in body:
        for request in body["compositeRequest"]:
            request["url"] = current_version(request["url"])
    return body


def current_version(path):
    def version(found):
        return f"/services/data/{VERSION}" if found[1] == "xx" else f"/services/data/v{max(int(found[1]), VERSION_MIN)}.0"

    return re.sub(r"/services/data/v(xx|\d+)\.0", version, path)


def capability_of(method, path, body, answer):
    status, said = answer
    asked = unquote_plus(path)
    if status >= 500:
        return "scripted-failure"
    if "recordCount" in path:
        return "record-count"
    if "/composite/sobjects/" in path:
        return "upsert-by-id" if path.endswith("/Id") else "upsert-by-key"
    if "/composite" in path:
        codes = [reply["httpStatusCode"] for reply in said["compositeResponse"]]
        if 304 in codes:
            return "composite-conditional"
        if max(codes) >= 400:
            return "composite-errors"
        return "composite-describe" if "describe" in json.dumps(body) else "composite"
    if "/sobjects/Organization" in path:
        return "organization"
    if "/sobjects/" in path:
        return "create"
    if re.search(r"\(\s*select", asked, re.IGNORECASE):
        return "query-children"
    if "TYPEOF" in asked:
        return "query-typeof"
    return "query-aggregate" if "count(" in asked.lower() else "query"


def replay_cassette(program, exchanges):
    with running(program) as org:
        preparer = Preparer(org)
        for recording, method, path, body, answer in exchanges:
            capability = capability_of(method, path, body, answer)
            try:
                yield recording, capability, answer, replay(org, preparer, method, path, body, answer)
            except Exception as error:  # noqa: BLE001: one exchange that cannot be prepared leaves the others
                traceback.print_exc(file=sys.stderr)
                yield recording, capability, answer, error


def replay(org, preparer, method, path, body, answer):
    if answer[0] >= 500:
        # A failure of the recorded org, not of the request: the simulator fails on request as well.
        org.do("POST", "/__sim/faults", {"kind": "status", "method": method, "path": "/composite", "status": answer[0], "body": answer[1]})
    else:
        preparer.exchange(method, path, body, answer[1])
    sent = None if body is None else preparer.own(json.dumps(unchanged_since(body, answer[1])))
    status, found = org.send(method, preparer.own(path), sent)
    preparer.learn(answer[1], preparer.aligned(answer[1], found))
    return status, preparer.aligned(answer[1], found)


def unchanged_since(body, answer):
    """A 304 means that nothing changed since the time asked about: for an org of today that is today."""
    if isinstance(answer, dict) and "compositeResponse" in answer:
        for request, reply in zip(body["compositeRequest"], answer["compositeResponse"], strict=False):
            if reply["httpStatusCode"] == 304:
                request["httpHeaders"]["If-Modified-Since"] = formatdate(usegmt=True)
    return body


# The recordings of answers alone.


def asked_for():
    """Groups that share an org: (flags, requests)."""
    groups = {}
    for number, request in enumerate(json.loads((DATA / "requests.json").read_text())):
        flags = tuple(request.get("org", ()))
        groups.setdefault((flags, number if request.get("alone") else None), []).append(request)
    return [(flags, requests) for (flags, _), requests in groups.items()]


def recorded_answer(request):
    text = (DATA / request["recording"]).read_text()
    for was, now in request.get("rename", {}).items():
        text = text.replace(was, now)
    body = json.loads(text)
    return request["status"], table(body) if request.get("csv") else body


def replay_requests(program, flags, requests):
    with running(program, flags) as org:
        now = datetime.now(UTC)
        names = org.facts | {
            "long": "x" * 300,
            "hour_ago": wire_time(now - timedelta(hours=1)),
            "in_a_minute": wire_time(now + timedelta(minutes=1)),
        }
        for request in requests:
            answer = recorded_answer(request)
            try:
                if request.get("prepare"):
                    Preparer(org).exchange(request["method"], f"/services/data/{VERSION}/{request['path']}", None, answer[1])
                for step in request.get("before", ()):
                    status, said = ask(org, step, names)
                    assert status < 300, f"preparing: {step['method']} {step['path']}: {status} {json.dumps(said)[:300]}"
                status, found = ask(org, request, names)
                if request.get("csv"):
                    found = table(found)
                if "part" in request and status < 300:
                    found = found[request["part"]]
                yield request["recording"], request["capability"], answer, (status, found)
            except Exception as error:  # noqa: BLE001: as above
                traceback.print_exc(file=sys.stderr)
                yield request["recording"], request["capability"], answer, error


def ask(org, step, names):
    body, headers = filled(step.get("body"), names), dict(step.get("headers", {}))
    if "text" in step:
        body = filled(step["text"], names)
    if "form" in step:
        body, headers["content-type"] = urlencode(filled(step["form"], names)), "application/x-www-form-urlencoded"
    deadline = time.monotonic() + POLL_SECONDS
    while True:
        status, said = org.send(step["method"], filled(step["path"], names), body, headers, step.get("session", True))
        wanted = step.get("until", {})
        if all(isinstance(said, dict) and said.get(name) == value for name, value in wanted.items()) or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if "as" in step:
        names[step["as"]] = said
    return status, said


def filled(value, names):
    """`{job.id}` and the like."""
    if isinstance(value, dict):
        return {key: filled(one, names) for key, one in value.items()}
    if not isinstance(value, str):
        return value

    def look(found):
        at = names
        for part in found[1].split("."):
            at = at[int(part) if part.isdigit() else part]
        return str(at)

    return re.sub(r"\{([a-z_0-9]+(?:\.\w+)*)\}", look, value)


def table(text):
    """A CSV's header as it is quoted, and its rows by the header's names."""
    header, *lines = text.splitlines()
    names = [name.strip('"') for name in header.split(",")]
    return {"header": header, "rows": [dict(zip(names, line.split(","), strict=True)) for line in lines]}


def wire_time(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# The verdict.


def all_replayed(program):
    for exchanges in cassettes().values():
        yield from replay_cassette(program, exchanges)
    for flags, requests in asked_for():
        yield from replay_requests(program, flags, requests)


class Verdicts:
    def __init__(self, tolerances, corrupt):
        self.tolerances = tolerances
        self.corrupt = corrupt
        self.rows = {}
        self.tolerated = []

    def take(self, recording, capability, recorded, found):
        row = self.rows.setdefault(capability, {"exchanges": 0, "wrong": [], "tolerated": 0})
        row["exchanges"] += 1
        if isinstance(found, Exception):
            row["wrong"].append(f"{recording}: {type(found).__name__}: {found}")
            return
        for difference in compare.differences(recorded, found):
            if self.tolerances.allow(recording, difference):
                row["tolerated"] += 1
                self.tolerated.append((recording, difference))
            else:
                row["wrong"].append(f"{recording}: {shown(difference)}")
        if self.corrupt:
            # What is damaged behind the comparison's back must be seen: the status of every second answer, else a type.
            damage = list(compare.damaged(found))
            # A type may be damaged in an item behind those recorded, which is not looked at: then it is the status.
            for kind, *answer in (damage[row["exchanges"] % min(2, len(damage))], damage[0]):
                seen = [d for d in compare.differences(recorded, tuple(answer)) if d[0] == kind]
                row["wrong"] += [f"{recording}: {shown(d)}" for d in seen]
                if seen:
                    break

    def print(self):
        for capability, row in self.rows.items():
            good = f"{row['exchanges']} exchanges, {row['tolerated']} differences tolerated"
            what = "differences in damaged answers" if self.corrupt else "differences"
            said = f"{len(row['wrong'])} {what}: {row['wrong'][0]}" if row["wrong"] else good
            emit(capability, not row["wrong"], said)


def shown(difference):
    kind, path, recorded, found = difference
    return f"{kind} at {path or 'the answer'}: recorded {recorded!r}, found {found!r}"


def notices_changes():
    """Every recorded answer equals itself and no damaged copy of it."""
    answers = [answer for exchanges in cassettes().values() for *_, answer in exchanges]
    answers += [recorded_answer(request) for _, requests in asked_for() for request in requests]
    found = Counter()
    for answer in answers:
        assert not list(compare.differences(answer, answer)), f"differs from itself: {answer}"
        for kind, *damaged in compare.damaged(answer):
            kinds = {d[0] for d in compare.differences(answer, tuple(damaged))}
            assert kind in kinds, f"a damaged {kind} is not seen in {json.dumps(answer)[:200]}"
            found[kind] += 1
    assert all(found[kind] for kind in ("status", "type", "code", "missing", "extra")), found
    return ", ".join(f"{count} of {kind}" for kind, count in found.items()) + " found"


def emit(capability, holds, detail):
    row = {"client": CLIENT, "capability": capability, "pass": holds, "detail": " ".join(str(detail).split())[:400]}
    print(json.dumps(row), flush=True)


def emit_checked(capability, check):
    try:
        emit(capability, True, check())
    except AssertionError as error:
        emit(capability, False, error)


def tolerated_summary(tolerances, verdicts):
    stale = tolerances.unused()
    assert not stale, f"{len(stale)} entries excuse nothing: {stale[0]}"
    recordings = len({recording for recording, _ in verdicts.tolerated})
    return f"{len(verdicts.tolerated)} tolerated differences in {recordings} recordings, under {len(tolerances.entries)} reasons"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("simulator")
    parser.add_argument("--list", action="store_true", help="print every difference")
    options = parser.parse_args()
    tolerances = Tolerances(json.loads((DATA / "tolerated.json").read_text()))
    verdicts = Verdicts(tolerances, os.environ.get("CONFORMANCE_CORRUPT") == "1")
    for replayed in all_replayed(options.simulator):
        verdicts.take(*replayed)
    if options.list:
        for recording, difference in verdicts.tolerated:
            print(f"tolerated  {recording}: {shown(difference)}")
        for capability, row in verdicts.rows.items():
            for wrong in row["wrong"]:
                print(f"{capability}  {wrong}")
        return
    verdicts.print()
    emit_checked("notices-changes", notices_changes)
    emit_checked("tolerated", lambda: tolerated_summary(tolerances, verdicts))


if __name__ == "__main__":
    main()
