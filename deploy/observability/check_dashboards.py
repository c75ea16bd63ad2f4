#!/usr/bin/env python3
"""Holds the dashboards against what Grafana imports, what Prometheus parses, and the metrics and runbooks that there are.

check_dashboards.py PROMTOOL              exit code 1 and a line per broken promise
check_dashboards.py PROMTOOL --self-test  breaks copies in every way that is looked for, and expects each to be named

A panel of a metric that is not there stays empty for good and looks like peace. So every metric and label that a query, a
legend or a variable names is in docs/metrics.md, and every metric of it is on a dashboard; every alert is named by the panel
that shows its cause.
"""

import copy
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import check

COLUMNS = 24
SCHEMA_VERSION_MIN = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
PANELS = {"stat", "timeseries", "bargauge", "state-timeline"}
# Grafana's names; a wrong one is shown as if there were none.
UNITS = {"short", "bytes", "Bps", "s", "percentunit", "reqps", "cps"}
# What Grafana gives a stored dashboard; one from a file must not bring them.
ASSIGNED = ("id", "version", "iteration")
# What Grafana replaces before Prometheus sees an expression.
BUILT_IN = {"__rate_interval": "4m", "__range": "6h"}
# Services send once a minute: a rate over less than two of its samples has gaps.
INTERVAL = "1m"


def dashboards(root):
    return sorted((root / "deploy/observability/dashboards").glob("*.json"))


def problems(root, promtool):
    """A line per broken promise."""
    found = []

    def speaker(of):
        return lambda text: found.append(f"{of}: {text}")

    known = check.metrics(root)
    for labels in (labels for name, labels in known.items() if name.endswith("_bucket")):
        labels.add("le")
    pages = {page.stem for page in (root / "docs/runbooks").glob("*.md")}
    boards = {}
    for file in dashboards(root):
        try:
            boards[file.name] = json.loads(file.read_text())
        except ValueError as error:
            found.append(f"{file.name}: is not JSON: {error}")
    if not boards:
        return [*found, "there is no dashboard"]
    uids = [board.get("uid") for board in boards.values()]
    tags = {tag for board in boards.values() for tag in board.get("tags", [])}
    queries = []
    for name, board in boards.items():
        say = speaker(name)
        if board.get("uid") != f"syncline-{Path(name).stem}" or uids.count(board["uid"]) > 1:
            say(f"its uid is {board.get('uid')}")
        check_board(board, tags, say)
        variables = check_variables(board, known, say)
        check_layout(board.get("panels", []), say)
        for panel in board.get("panels", []):
            if panel.get("type") != "row":
                say = speaker(f"{name}, {panel.get('title')}")
                check_panel(panel, pages, say)
                for target in panel.get("targets", []):
                    check_expression(target, known, variables, say)
                    queries.append((say, target.get("expr", "")))
    check_syntax(queries, promtool)

    used = re.findall(r"\bsyncline_\w+", " ".join(expression for _, expression in queries))
    # Of a histogram, one of its series is enough.
    base = re.compile(rf"({'|'.join(check.SUFFIXES)})$")
    shown = {base.sub("", metric) for metric in used}
    found.extend(f"{metric} is on no dashboard" for metric in sorted({base.sub("", metric) for metric in known} - shown))
    told = " ".join(panel.get("description", "") for board in boards.values() for panel in board.get("panels", []))
    found.extend(f"no panel names the alert {alert}" for alert in sorted(pages - set(re.findall(r"\bSyncline[A-Z]\w+", told))))
    return found


def check_board(board, tags, say):
    for key in ASSIGNED:
        if key in board:
            say(f"brings `{key}`, which Grafana assigns")
    for key in ("title", "description", "panels", "tags", "links", "time"):
        if not board.get(key):
            say(f"has no {key}")
    if board.get("schemaVersion", 0) < SCHEMA_VERSION_MIN:
        say(f"schemaVersion is {board.get('schemaVersion')}")
    if board.get("refresh") != "30s":
        say(f"refresh is {board.get('refresh')}")
    for link in board.get("links", []):
        if link.get("type") != "dashboards" or not link.get("tags") or not set(link["tags"]) <= tags:
            say(f"the link {link.get('title')} leads to no dashboard")


def check_variables(board, known, say):
    """The variables' names."""
    listed = board.get("templating", {}).get("list", [])
    names = [variable.get("name") for variable in listed]
    if [(v["name"], v.get("query")) for v in listed if v.get("type") == "datasource"] != [("datasource", "prometheus")]:
        say("the data source is not a variable")
    for name in {name for name in names if names.count(name) > 1}:
        say(f"two variables are called {name}")
    for variable in (v for v in listed if v.get("type") != "datasource"):
        query = variable.get("query", {}).get("query", "")
        values = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
        if not values or variable.get("definition") != query or variable.get("datasource") != DATASOURCE:
            say(f"the variable {variable.get('name')} is not of the form label_values(METRIC, LABEL) over ${{datasource}}")
        elif values[2] not in known.get(values[1], ()):
            say(f"the variable {variable['name']}: there is no metric {values[1]} with a label {values[2]}")
    panels = json.dumps(board.get("panels", []))
    for name in names:
        if not re.search(rf"\$(\{{{name}\}}|{name}\b)", panels):
            say(f"the variable {name} changes nothing")
    return set(names)


def check_layout(panels, say):
    ids = [panel.get("id") for panel in panels]
    for repeated in {i for i in ids if not isinstance(i, int) or ids.count(i) > 1}:
        say(f"a panel's id is {repeated}")
    taken = {}
    for panel in panels:
        title, place = panel.get("title"), panel.get("gridPos", {})
        if not title:
            say("a panel has no title")
        # A folded row would hide its panels from every check here, and from people at night.
        if panel.get("type") == "row" and (panel.get("collapsed") or panel.get("panels")):
            say(f"the row {title} is folded")
        x, y, w, h = (place.get(key) for key in "xywh")
        if not all(isinstance(n, int) for n in (x, y, w, h)) or x < 0 or y < 0 or w < 1 or h < 1 or x + w > COLUMNS:
            say(f"{title} does not fit {COLUMNS} columns: {place}")
            continue
        for cell in ((column, row) for column in range(x, x + w) for row in range(y, y + h)):
            if taken.setdefault(cell, title) != title:
                say(f"{title} lies on {taken[cell]}")
                break


def check_panel(panel, pages, say):
    if panel.get("type") not in PANELS:
        say(f"is a {panel.get('type')}")
    for owner in (panel, *panel.get("targets", [])):
        if owner.get("datasource") != DATASOURCE:
            say(f"its data source is {owner.get('datasource')}")
    references = [target.get("refId") for target in panel.get("targets", [])]
    if not references or len(set(references)) < len(references):
        say(f"its queries are called {references}")
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if defaults.get("unit") not in UNITS:
        say(f"its unit is {defaults.get('unit')}")
    steps = defaults.get("thresholds", {}).get("steps", [])
    values = [step.get("value") for step in steps]
    if not values or values[0] is not None or None in values[1:] or values[1:] != sorted(values[1:]):
        say(f"its thresholds are {values}")
    description = panel.get("description", "")
    named = set(re.findall(r"\bSyncline[A-Z]\w+", description))
    if not named and "No alert" not in description and "No bad value" not in description:
        say("does not say which alert belongs to it, or that none does")
    for page in named - pages:
        say(f"there is no runbook {page}")
    for path in re.findall(r"\b[\w/]+\.(?:md|rs)\b", description):
        if not (check.ROOT / path).is_file():
            say(f"there is no {path}")
    if any("$__rate_interval" in target.get("expr", "") for target in panel.get("targets", [])) and panel.get("interval") != INTERVAL:
        say(f"its interval is {panel.get('interval')}")


def inside(expression, start):
    """What stands between the parenthesis that opens at `start` and the one that closes it."""
    depth = 0
    for end in range(start, len(expression)):
        depth += {"(": 1, ")": -1}.get(expression[end], 0)
        if depth == 0:
            return expression[start + 1 : end]
    return expression[start + 1 :]


def check_expression(target, known, variables, say):
    expression = target.get("expr", "")
    used = re.findall(r"\b(syncline_\w+)(?:\{([^}]*)\})?", expression)
    if not used:
        say(f"a query asks for nothing: {expression!r}")
    for metric, braces in used:
        if metric not in known:
            say(f"there is no metric {metric}")
        for label in re.findall(r"(\w+)\s*(?:=|!)", re.sub(r'"[^"]*"', '""', braces)):
            if label not in known.get(metric, {label}):
                say(f"{metric} has no label {label}")
    # A rate is a line over time; a number of events is true from the first one on.
    if check.misses_first(expression, "increase"):
        say("a query does not see what a counter counts first")
    kept = set()
    for group in re.finditer(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)\s*(\()?", expression):
        labels = {label.strip() for label in group[2].split(",") if label.strip()}
        # Written `by (…) (…)`, so that what it groups can be found.
        if group[1] != "by" or not group[3]:
            say(f"a query has `{group[0]}`, of which nothing is checked")
            continue
        kept |= labels
        for metric in re.findall(r"\bsyncline_\w+", inside(expression, group.end() - 1)):
            for label in labels - known.get(metric, labels):
                say(f"groups by {label}, which {metric} does not have")
    if not kept and not re.search(r"\b(sum|min|max|avg|count)\b", expression):
        kept = {label for metric, _ in used for label in known.get(metric, ())}
    for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")):
        if label not in kept:
            say(f"its legend names {label}, which the query does not keep")
    for variable in re.findall(r"\$\{?(\w+)", expression):
        if variable not in variables and variable not in BUILT_IN:
            say(f"there is no variable {variable}")


def check_syntax(queries, promtool):
    """Every expression in a rule of one file, which promtool parses."""
    rules = []
    for number, (_, expression) in enumerate(queries):
        for variable, value in BUILT_IN.items():
            expression = expression.replace(f"${variable}", value)
        rules.append({"record": f"query_{number}", "expr": expression})
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
        file.flush()
        answer = subprocess.run([promtool, "check", "rules", file.name], capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        return
    blamed = re.findall(r'"query_(\d+)": (.*)', answer.stderr)
    for number, why in blamed:
        say, expression = queries[int(number)]
        say(f"{why} in {expression}")
    if not blamed:
        raise SystemExit(f"promtool: {answer.stderr}")


# What a self-test breaks: a name, how, and what must be said of it. A panel `p` is the first one of its dashboard with a query
# by stage, `t` its query, `b` the dashboard `run`.
BROKEN = [
    ("a uid of another", lambda b, p, t: b.update(uid="syncline-bus"), "its uid is syncline-bus"),
    ("no title", lambda b, p, t: b.pop("title"), "has no title"),
    ("no links", lambda b, p, t: b.update(links=[]), "has no links"),
    ("a link to nowhere", lambda b, p, t: b["links"][0].update(tags=["other"]), "leads to no dashboard"),
    ("an assigned id", lambda b, p, t: b.update(id=7), "brings `id`"),
    ("an old schema", lambda b, p, t: b.update(schemaVersion=16), "schemaVersion is 16"),
    ("no refresh", lambda b, p, t: b.update(refresh=""), "refresh is "),
    ("no data source to choose", lambda b, p, t: b["templating"]["list"].pop(0), "the data source is not a variable"),
    ("a variable over no metric", lambda b, p, t: variable(b, "label_values(syncline_stages, stage)"), "no metric syncline_stages with"),
    ("a variable over no label", lambda b, p, t: variable(b, "label_values(syncline_claims_unsettled, stage)"), "with a label stage"),
    ("a variable by another query", lambda b, p, t: variable(b, "query_result(up)"), "is not of the form"),
    ("an idle variable", lambda b, p, t: b["templating"]["list"].append(dict(b["templating"]["list"][1], name="idle")), "idle changes nothing"),
    ("a variable twice", lambda b, p, t: b["templating"]["list"].append(b["templating"]["list"][1]), "two variables are called stage"),
    ("a panel on another", lambda b, p, t: p["gridPos"].update(y=p["gridPos"]["y"] - 1), "lies on"),
    ("a panel over the edge", lambda b, p, t: p["gridPos"].update(w=25), "does not fit 24 columns"),
    ("a panel without a place", lambda b, p, t: p.pop("gridPos"), "does not fit 24 columns"),
    ("a panel's id twice", lambda b, p, t: p.update(id=1), "a panel's id is 1"),
    ("a panel without a title", lambda b, p, t: p.update(title=""), "a panel has no title"),
    ("a folded row", lambda b, p, t: b["panels"][0].update(collapsed=True), "is folded"),
    ("an unknown kind of panel", lambda b, p, t: p.update(type="graph"), "is a graph"),
    ("a panel's own data source", lambda b, p, t: p.update(datasource={"type": "prometheus", "uid": "P1809F7CD0C75ACF3"}), "its data source is"),
    ("a query's own data source", lambda b, p, t: t.pop("datasource"), "its data source is"),
    ("no query", lambda b, p, t: p.update(targets=[]), "its queries are called []"),
    ("two queries of one name", lambda b, p, t: p["targets"].append(dict(t)), "its queries are called ["),
    ("a misspelt unit", lambda b, p, t: p["fieldConfig"]["defaults"].update(unit="seconds"), "its unit is seconds"),
    ("thresholds out of order", lambda b, p, t: thresholds(p, [None, 5, 2]), "its thresholds are [None, 5, 2]"),
    ("thresholds without a base", lambda b, p, t: thresholds(p, [1]), "its thresholds are [1]"),
    ("no description", lambda b, p, t: p.pop("description"), "does not say which alert"),
    ("a missing runbook", lambda b, p, t: p.update(description="Alert SynclineSleepy."), "there is no runbook SynclineSleepy"),
    ("a missing file", lambda b, p, t: p.update(description="No alert: docs/sleepy.md."), "there is no docs/sleepy.md"),
    ("a rate over too little", lambda b, p, t: p.pop("interval"), "its interval is None"),
    ("an empty query", lambda b, p, t: t.update(expr=""), "asks for nothing"),
    ("what Prometheus cannot parse", lambda b, p, t: t.update(expr=t["expr"] + ")"), "parse"),
    ("a type that Prometheus refuses", lambda b, p, t: t.update(expr="rate(syncline_claims_unsettled)"), "expected type range vector"),
    ("a metric that is not there", lambda b, p, t: replace(t, "syncline_stage_records_total", "syncline_stage_rows_total"), "no metric syncline_stage_rows_total"),
    ("a histogram as it is", lambda b, p, t: t.update(expr="syncline_step_duration_seconds", legendFormat=""), "no metric syncline_step_duration_seconds"),
    ("a label that is not there", lambda b, p, t: replace(t, "{stage=~", "{stages=~"), "has no label stages"),
    ("a negated label that is not there", lambda b, p, t: replace(t, "{stage=~", "{stages!~"), "has no label stages"),
    ("a group that is not there", lambda b, p, t: replace(t, "by (stage)", "by (step)"), "groups by step, which syncline_stage_records_total"),
    ("a group behind", lambda b, p, t: t.update(expr="sum(syncline_runs_active) by (status)", legendFormat=""), "of which nothing is checked"),
    ("a legend that is not kept", lambda b, p, t: t.update(legendFormat="{{service}}"), "its legend names service"),
    ("a count from the second on", lambda b, p, t: replace(t, "rate(", "increase("), "does not see what a counter counts first"),
    ("a count of two windows", lambda b, p, t: t.update(expr=FIRST, legendFormat=""), "does not see what a counter counts first"),
    ("a variable that is not there", lambda b, p, t: replace(t, "$stage", "$stages"), "there is no variable stages"),
]


FIRST = "sum ((syncline_retries_total unless present_over_time(syncline_retries_total[1d] offset 5m)) or increase(syncline_retries_total[10m]))"


def variable(board, query):
    board["templating"]["list"][1].update(query={"query": query}, definition=query)


def thresholds(panel, values):
    panel["fieldConfig"]["defaults"]["thresholds"]["steps"] = [{"color": "red", "value": value} for value in values]


def replace(target, old, new):
    assert old in target["expr"], f"{old} is not in {target['expr']}"
    target["expr"] = target["expr"].replace(old, new)


def self_test(promtool):
    """How many ways to break a dashboard were not seen."""
    unseen = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(check.ROOT / "docs", root / "docs")
        shutil.copytree(check.ROOT / "deploy/observability/dashboards", root / "deploy/observability/dashboards")
        file = root / "deploy/observability/dashboards/run.json"
        text = file.read_text()

        def expect(what, fragment):
            nonlocal unseen
            said = problems(root, promtool)
            if not any(fragment in line for line in said):
                unseen += 1
                print(f"{what}: not named, but {said}", file=sys.stderr)

        for what, spoil, fragment in BROKEN:
            board = copy.deepcopy(json.loads(text))
            panel = next(p for p in board["panels"] if any("rate(syncline_stage_records_total{stage=~" in t["expr"] for t in p.get("targets", [])))
            spoil(board, panel, panel["targets"][0])
            file.write_text(json.dumps(board))
            expect(what, fragment)
        file.write_text(text[: len(text) // 2])
        expect("half a file", "run.json: is not JSON")
        file.write_text(text)
        with (root / "docs/metrics.md").open("a") as page:
            page.write("| `syncline.naps` | `syncline_naps_total` | counter | stage | Naps. |\n")
        expect("a metric on no dashboard", "syncline_naps_total is on no dashboard")
        (root / "docs/runbooks/SynclineNew.md").touch()
        expect("an alert on no dashboard", "no panel names the alert SynclineNew")
        for each in dashboards(root):
            each.unlink()
        expect("no dashboards", "there is no dashboard")
    return unseen


def main():
    promtool, *rest = sys.argv[1:]
    if rest not in ([], ["--self-test"]):
        raise SystemExit(__doc__)
    found = problems(check.ROOT, promtool)
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        return 1
    if rest:
        unseen = self_test(promtool)
        if not unseen:
            print(f"{len(BROKEN) + 4} ways to break a dashboard are all named")
        return 1 if unseen else 0
    print(f"{len(dashboards(check.ROOT))} dashboards ask only for what there is, and for all of it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
