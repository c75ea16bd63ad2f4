"""The Salesforce CLI as a process: an account of its own, answers as JSON. Shared by the two clients that go by it."""

import json
import os
import subprocess
from pathlib import Path

COMMAND_SECONDS = 120
# The CLI polls a Bulk job every five seconds; minutes here are the longest it waits.
WAIT_MINUTES = "2"


class Refused(Exception):
    """The command failed; `name` and `message` as the CLI reports them."""

    def __init__(self, answer):
        self.answer = answer
        self.name = answer.get("name", "")
        super().__init__(f"{self.name}: {answer.get('message', answer)}")


class Cli:
    def __init__(self, tools):
        self.program = Path(tools) / "node_modules/.bin/sf"
        node = Path(tools).parent / "node-home/bin"
        own = {f"SF_{name}_DIR": str(Path.home() / name.lower()) for name in ("DATA", "CONFIG", "CACHE", "STATE")}
        quiet = {"SF_DISABLE_TELEMETRY": "true", "SF_AUTOUPDATE_DISABLE": "true", "SF_SKIP_NEW_VERSION_CHECK": "true"}
        # Without a desktop's keyring, a file beside its other data keeps the key.
        quiet |= {"SF_USE_GENERIC_UNIX_KEYCHAIN": "true", "SF_DISABLE_LOG_FILE": "true", "SF_USE_PROGRESS_BAR": "false"}
        self.environment = os.environ | own | quiet | {"PATH": f"{node}:{os.environ['PATH']}"}

    def __call__(self, *arguments, **more):
        """The `result` of a command; Refused if it ends with anything but 0."""
        done = self.run(*arguments, "--json", **more)
        answer = json.loads(done.stdout)
        if done.returncode != 0 or answer["status"] != 0:
            raise Refused(answer)
        return answer["result"]

    def run(self, *arguments, **more):
        done = subprocess.run([self.program, *arguments], env=self.environment | more, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        return done

    def login(self, org, alias):
        return self("org", "login", "access-token", "--instance-url", org.https_url, "--no-prompt", "--alias", alias, SF_ACCESS_TOKEN=org.token)
