"""The driver finds out clients that misbehave."""

import json
import unittest

import run

ABOUT = {"records": ["create"], "org": ["login"]}


def row(capability, holds=True, client="fake", **more):
    return json.dumps({"client": client, "capability": capability, "pass": holds, "detail": "d", **more})


class Rows(unittest.TestCase):
    def verdicts(self, *lines, code=0, self_test=False):
        rows = run.rows_of("fake", ABOUT, "\n".join(lines), code)
        return {name: right for name, right, _, _ in run.judge(rows, ABOUT, self_test)}

    def test_all_rows_pass(self):
        self.assertEqual(self.verdicts(row("login"), row("create")), {"create": True, "login": True})

    def test_a_failed_row_fails(self):
        self.assertFalse(self.verdicts(row("login"), row("create", False))["create"])

    def test_a_missing_row_fails(self):
        self.assertFalse(self.verdicts(row("login"))["create"])

    def test_a_pass_that_is_no_boolean_fails(self):
        self.assertFalse(self.verdicts(row("login"), row("create", "false"))["create"])

    def test_what_else_there_is_fails(self):
        both = [row("login"), row("create")]
        for stray in (row("create"), row("upsert"), row("create", client="other"), "hello", '"text"', "{}"):
            self.assertIn(False, self.verdicts(*both, stray).values(), stray)

    def test_a_bad_end_fails_whatever_was_printed(self):
        for code in (1, -9, "not done within 300 s"):
            self.assertFalse(self.verdicts(row("login"), row("create"), code=code)["(end)"])

    def test_damaged_records_must_be_noticed_and_named(self):
        noticed = row("create", False, detail="Name is 'damaged 1', not 'x'")
        self.assertEqual(self.verdicts(row("login"), noticed, self_test=True), {"create": True, "login": True})
        for unnoticed in (row("create"), row("create", False)):
            self.assertFalse(self.verdicts(row("login"), unnoticed, self_test=True)["create"], unnoticed)
        self.assertFalse(self.verdicts(row("login", False), noticed, self_test=True)["login"])

    def test_every_client_has_ten_capabilities(self):
        for client, about in run.load_matrix().items():
            self.assertGreaterEqual(len(about["records"] + about["org"]), 10, client)


if __name__ == "__main__":
    unittest.main()
