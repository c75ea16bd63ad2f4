#!/usr/bin/env python3
"""Real clients of Salesforce, unpatched, against the simulator: one table of client, capability, pass or fail.

    make conformance                       all of them
    .ci/conformance CLIENT...              some of them
    .ci/conformance --self-test CLIENT...  the same with records damaged behind the clients' backs: what compares records
                                           must fail, and nothing else may; and clients that misbehave are found out

What a client must show stands in matrix.json. A capability without a row, a row that the matrix does not know, two rows
for one, a client that does not end well: each is a failure. Exit code 0: every row of the matrix passed.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import orgs

HERE = Path(__file__).resolve().parent
MATRIX = HERE / "matrix.json"
PROGRAM = "salesforce-simulator"
CLIENT_SECONDS = 300
AT_ONCE = 2
DETAIL_CHARACTERS = 110
STDERR_LINES = 40
# Nothing of the surroundings decides whom a client trusts or where it goes.
SURROUNDINGS = ("_proxy", "_PROXY", "_CA_BUNDLE", "SSL_CERT_", "NODE_EXTRA_CA_CERTS", "SF_", "SFDX_", "CUMULUSCI_", "PYTHON")


def load_matrix(path=MATRIX):
    matrix = json.loads(path.read_text())
    for client, about in matrix.items():
        wanted = about["records"] + about["org"]
        if len(wanted) != len(set(wanted)) or len(wanted) < about.get("at_least", 10):
            raise SystemExit(f"{path.name}: {client} must have ten capabilities or more, each once")
    return matrix


def environment(client, home, tools, facts, ca, proxy, corrupt):
    given = {name: value for name, value in os.environ.items() if not any(part in name for part in SURROUNDINGS)}
    trust = {name: str(ca) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")}
    own = {"CLIENT": client, "CA": str(ca), "PROXY": proxy, "TOOLS": str(tools), "CORRUPT": "1" if corrupt else "0"}
    own |= {f"ORG_{kind.upper()}": str(path) for kind, path in facts.items()}
    named = {f"CONFORMANCE_{name}": value for name, value in own.items()}
    return given | trust | named | {"HOME": str(home), "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC"}


def rows_of(client, about, output, code):
    """The matrix's rows with their verdicts, in its order; whatever else there is counts as a failure of its own."""
    seen, stray = {}, []
    for line in output.splitlines():
        try:
            row = json.loads(line)
            named, capability, holds, detail = row["client"], row["capability"], row["pass"], row["detail"]
        except (ValueError, KeyError, TypeError):
            stray.append((f"(no row: {line[:60]})", False, "standard output is for rows alone"))
            continue
        if named != client or capability not in about["records"] + about["org"]:
            stray.append((capability, False, f"not in the matrix of {client}"))
        elif capability in seen:
            stray.append((capability, False, "a second row"))
        else:
            seen[capability] = (holds is True, str(detail))
    wanted = [(name, *seen.get(name, (False, "no row"))) for name in about["records"] + about["org"]]
    if code != 0:
        stray.append(("(end)", False, code if isinstance(code, str) else f"exit code {code}"))
    return wanted + stray


def run_client(client, about, options, work):
    began = time.monotonic()
    home = work / client
    home.mkdir()
    tools = Path(options.tools) / about["tools"] if "tools" in about else Path(options.tools)
    with contextlib.ExitStack() as stack:
        facts, proxy = {}, ""
        for kind in about["orgs"]:
            facts[kind], said = stack.enter_context(orgs.org(options.bin / PROGRAM, kind, home, work))
            if not proxy:
                way = orgs.ConnectProxy(urlsplit(said["https_url"]).port)
                stack.callback(way.close)
                proxy = way.url
        command = [part.format(all=options.tools, tools=tools, bin=options.bin, here=HERE) for part in about["run"]]
        given = environment(client, home, tools, facts, work / "ca.pem", proxy, options.self_test)
        with (home / "stderr").open("w") as log:
            try:
                done = subprocess.run(command, cwd=home, env=given, stdout=subprocess.PIPE, stderr=log, text=True, timeout=CLIENT_SECONDS)
                output, code = done.stdout, done.returncode
            except subprocess.TimeoutExpired as late:
                output, code = (late.stdout or b"").decode(), f"not done within {CLIENT_SECONDS} s"
        said = (home / "stderr").read_text(errors="replace").splitlines()[-STDERR_LINES:]
    return rows_of(client, about, output, code), said, time.monotonic() - began


def run_or_say_why(client, about, options, work):
    """A client that cannot even be started fails in all its rows."""
    try:
        return run_client(client, about, options, work)
    except (OSError, RuntimeError, KeyError) as error:
        return rows_of(client, about, "", f"not started: {error!r}"), [], 0.0


def judge(rows, about, self_test):
    """What a row must be: passed; or, with records damaged, failed because of that exactly where records are compared."""

    def right(name, holds, detail):
        if self_test and name in about["records"]:
            return not holds and "damaged" in detail
        return holds

    return [(name, right(name, holds, detail), holds, detail) for name, holds, detail in rows]


def print_table(verdicts, self_test):
    lines = [(client, *row) for client, rows in verdicts.items() for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
    for client, name, right, holds, detail in lines:
        verdict = "pass" if holds else "fail"
        if self_test:
            verdict = f"{verdict}, {'as it must' if right else 'WRONG'}"
        short = detail if not right else detail[:DETAIL_CHARACTERS]
        print(f"{client:<{widths[0]}}  {name:<{widths[1]}}  {verdict}  {short}".rstrip())


def run_all(options, matrix):
    clients = options.clients or list(matrix)
    for unknown in set(clients) - matrix.keys():
        raise SystemExit(f"{unknown} is not in the matrix")
    local = orgs.ROOT / ".local"
    local.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="conformance.", dir=local))
    try:
        orgs.certificates(work)
        # The slowest first, so that the fast ones fill the other place.
        order = sorted(clients, key=lambda client: -matrix[client].get("seconds", 0))
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            running = {client: pool.submit(run_or_say_why, client, matrix[client], options, work) for client in order}
            results = {client: running[client].result() for client in clients}
    finally:
        if not options.keep:
            shutil.rmtree(work)
    verdicts = {client: judge(rows, matrix[client], options.self_test) for client, (rows, _, _) in results.items()}
    for client, (_, said, _) in results.items():
        if not all(right for _, right, _, _ in verdicts[client]):
            print(f"== what {client} said last", *said, "==", sep="\n", file=sys.stderr)
    print_table(verdicts, options.self_test)
    wrong = sum(not right for rows in verdicts.values() for _, right, _, _ in rows)
    total = sum(len(rows) for rows in verdicts.values())
    times = ", ".join(f"{client} {seconds:.0f} s" for client, (_, _, seconds) in results.items())
    print(f"{len(clients)} clients, {total} rows, {wrong} {'not as damaged records demand' if options.self_test else 'failed'} ({times})")
    return wrong == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*", help="those of the matrix to run; all if none is named")
    parser.add_argument("--bin", type=Path, required=True, help=f"the folder of {PROGRAM}")
    parser.add_argument("--tools", required=True, help="the folder of the installed clients")
    parser.add_argument("--self-test", action="store_true", help="damage records behind the clients' backs")
    parser.add_argument("--keep", action="store_true", help="keep the logs under .local/")
    options = parser.parse_args()
    sys.exit(0 if run_all(options, load_matrix()) else 1)


if __name__ == "__main__":
    main()
