#!/usr/bin/env python3
"""Holds alerts and runbooks against the metrics, the command line and the tables that there are.

promtool sees that the rules are valid and fire; here is what it cannot know: that every metric and label that a rule names
is in docs/metrics.md, that no rule misses what a counter counts first, that every alert has a page and every page an alert, and
that what a page tells people to type exists.
Exit code 1 and a line per broken promise.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RUNBOOKS = ROOT / "docs" / "runbooks"
# What Prometheus makes of a histogram.
SUFFIXES = ("_count", "_sum", "_bucket")
# A metric or a recorded series, and what it is narrowed to.
SERIES = re.compile(r"(?<![\w:])((?:\w+:)?syncline_\w+(?::\w+)?)(?:\{([^}]*)\})?")
# What a counter has counted in a window, its first number included: a series is born with it, so it never rises to it. A day
# back, so that nothing is born again that was merely not scraped.
COUNTED = re.compile(r"\((syncline_\w+(?:\{[^}]*\})?) unless present_over_time\(\1\[1d\] offset ([\w$]+)\)\) or increase\(\1\[\2\]\)")

problems = []


def expect(holds, problem):
    if not holds:
        problems.append(problem)


def metrics(root=ROOT):
    """Labels by Prometheus' name."""
    rows = re.findall(r"^\| `[^`]+` \| `([^`]+)` \| (\w+) \| ([^|]*) \|", (root / "docs/metrics.md").read_text(), re.MULTILINE)
    found = {}
    for name, kind, labels in rows:
        names = [name + suffix for suffix in SUFFIXES] if kind == "histogram" else [name]
        for each in names:
            found[each] = {label.strip() for label in labels.split(",") if label.strip()}
    return found


def commands():
    """The words that may follow `syncline`: variants of the command line's enums, as clap spells them."""
    text = (ROOT / "services/syncline/src/cli.rs").read_text()
    found = {}
    for enum in ("Command", "RunsCommand", "Connection", "Token", "Audit"):
        body = re.search(rf"pub enum {enum} \{{\n(.*?)^\}}", text, re.DOTALL | re.MULTILINE)[1]
        variants = re.findall(r"^    ([A-Z]\w*)", body, re.MULTILINE)
        found[enum] = {re.sub(r"(?<!^)(?=[A-Z])", "-", v).lower() for v in variants}
    return found


def tables():
    """Columns by schema and table, from the migrations and the runtime's own schema."""
    found = {}
    shared = (ROOT / "libs/runtime/src/lease.rs").read_text()
    for folder in (ROOT / "services").glob("*/migrations"):
        text = "".join(file.read_text() for file in sorted(folder.glob("*.sql"))) + shared
        for name, body in re.findall(r"create table (?:if not exists )?(\w+) \((.*?)\n\s*\)", text, re.DOTALL):
            found[folder.parent.name, name] = body
    return found


def misses_first(expression, functions="increase|rate|irate"):
    """Whether it asks for the rise of a counter without what the counter was born with."""
    return re.search(rf"\b({functions})\(", COUNTED.sub("", expression)) is not None


def recorded(records):
    """Labels by recorded series: those that it is summed by."""
    found = {}
    for name, expression in records.items():
        group = re.match(r"sum by \(([^)]*)\)", expression)
        found[name] = set(re.findall(r"\w+", group[1])) if group else set()
    return found


def check_rules(rules, known):
    for name, expression in rules.items():
        series = SERIES.findall(expression)
        for metric, braces in series:
            expect(metric in known, f"{name}: there is no metric {metric}")
            for label in re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', "", braces)):
                expect(label in known.get(metric, {label}), f"{name}: {metric} has no label {label}")
        for group in re.findall(r"by \(([^)]*)\)", expression):
            labels = {label for metric, _ in series for label in known.get(metric, ())}
            for label in group.split(","):
                expect(label.strip() in labels, f"{name}: nothing in it has a label {label.strip()}")
        expect(not misses_first(expression), f"{name}: does not see what a counter counts first")


def check_page(page, words, columns, known):
    text = page.read_text()
    for heading in ("## Look here first", "## Likely causes", "## What to do", "**What not to do.**", "**It is over when:**"):
        expect(heading in text, f"{page.name}: says nothing under {heading}")
    for command in re.findall(r"`syncline ([^`]+)`", text):
        first, *rest = command.split()
        expect(first in words["Command"], f"{page.name}: there is no command `syncline {first}`")
        enum = {"runs": "RunsCommand", "connection": "Connection", "token": "Token", "audit": "Audit"}.get(first)
        if enum and rest and rest[0].islower():
            expect(rest[0] in words[enum], f"{page.name}: there is no command `syncline {first} {rest[0]}`")
    for metric in re.findall(r"`(syncline_\w+)`", text):
        expect(metric in known, f"{page.name}: there is no metric {metric}")
    for chosen, schema, table in re.findall(r"`select (.*?) from (\w+)\.(\w+)", text):
        body = "".join(b for (s, t), b in columns.items() if t == table and schema in (s, "SERVICE"))
        expect(body != "", f"{page.name}: there is no table {schema}.{table}")
        for column in re.findall(r"\b([a-z_]+)\b", re.sub(r"\b(count|min|max|left)\b", "", chosen)):
            expect(re.search(rf"\b{column}\b", body), f"{page.name}: {schema}.{table} has no column {column}")


def main():
    text = (ROOT / "deploy/observability/alerts.yaml").read_text()
    alerts = dict(re.findall(r"- alert: (\w+)\n\s+expr: '(.*)'", text))
    records = dict(re.findall(r"- record: (\S+)\n\s+expr: '(.*)'", text))
    expect(len(alerts) + len(records) == len(re.findall(r"^\s*- (?:alert|record):", text, re.MULTILINE)), "a rule is not written in one line")
    known = metrics()
    check_rules(records, known)
    check_rules(alerts, known | recorded(records))
    used = {metric for expression in alerts.values() for metric, _ in SERIES.findall(expression)}
    expect(records.keys() <= used, f"recorded for no alert: {sorted(records.keys() - used)}")
    pages = {page.stem: page for page in RUNBOOKS.glob("*.md")}
    expect(alerts.keys() == pages.keys(), f"without a page or an alert: {sorted(alerts.keys() ^ pages.keys())}")
    tested = re.findall(r"alertname: (\w+)\n\s+exp_alerts:(.*)", (ROOT / "deploy/observability/alerts_test.yaml").read_text())
    for name in alerts:
        expected = {quiet.strip() == "[]" for alert, quiet in tested if alert == name}
        expect(expected == {True, False}, f"{name}: no test fires it, or none leaves it quiet")
    words, columns = commands(), tables()
    for page in pages.values():
        check_page(page, words, columns, known)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{len(alerts)} alerts and their pages name only what there is")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
