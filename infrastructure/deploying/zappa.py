"""The unmodified `zappa` command, with the committed settings as the stacks' hand-over completes them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infrastructure.deploying.account import Account, WentWrong
from infrastructure.deploying.waiting import Turn
from infrastructure.hand_over import REPOSITORY, complete
from vibecode.local import child

SETTINGS = REPOSITORY / "zappa_settings.json"
LOOKED = 1  # seconds between two looks at a lock, and at a command that runs
ENDED = 1800  # seconds within which it has ended: it waits for its stack for ever where that failed in certain ways


class Endless(WentWrong):
    """Zappa still waited for something that will never come."""


class Zappa:
    """Zappa, for both functions of a stage."""

    def __init__(self, account: Account, turn: Turn) -> None:
        self._account, self._turn = account, turn

    def settings(self) -> dict[str, dict[str, Any]]:
        """The committed settings, completed by the hand-over."""
        return complete(json.loads(SETTINGS.read_text()), self._account.hand_over())

    def run(self, *words: str) -> None:
        """`zappa …`. It ends with us (Linux), and when the stage is no longer ours. Raises WentWrong, Lost."""
        with tempfile.TemporaryDirectory(prefix="vibecode-zappa-") as folder:
            settings, said = Path(folder) / "zappa_settings.json", Path(folder) / "said"
            settings.write_text(json.dumps(self.settings()))
            command = [str(Path(sys.executable).with_name("zappa")), *words, "--settings_file", str(settings)]
            with said.open("wb") as output:
                started = child.start(command, output=output, folder=Path(folder), environment=dict(os.environ))
                try:
                    has_ended = self._waited(started)
                finally:
                    if started.poll() is None:
                        started.terminate()
                        started.wait()
            told = said.read_text(errors="replace")
        if not has_ended:
            raise Endless(f"zappa {words[0]} {words[1]} has not ended within {ENDED} s:\n{told[-3000:]}")
        if started.returncode or "Traceback" in told:
            raise WentWrong(f"zappa {words[0]} {words[1]} failed:\n{told[-3000:]}")

    def _waited(self, started: subprocess.Popen[bytes]) -> bool:
        """Whether it has ended in time. Raises Lost."""
        deadline = time.monotonic() + ENDED
        while time.monotonic() < deadline:
            try:
                started.wait(LOOKED)
            except subprocess.TimeoutExpired:
                self._turn.check()
            else:
                return True
        return False


def configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What Lambda is told of a function with these settings, as Zappa tells it."""
    return {
        "Role": settings["role_arn"],
        "Description": settings["lambda_description"],
        "Runtime": settings["runtime"],
        "Handler": settings["lambda_handler"],
        "Architectures": [settings["architecture"]],
        "MemorySize": settings["memory_size"],
        "Timeout": settings["timeout_seconds"],
        "VpcConfig": settings["vpc_config"],
        "Environment": {"Variables": settings["aws_environment_variables"]},
        "KMSKeyArn": settings["aws_kms_key_arn"],
        "TracingConfig": {"Mode": "Active" if settings["xray_tracing"] else "PassThrough"},
        "Layers": settings["layers"],
        "Tags": settings["tags"],
    }


def inherited(settings: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """A stage of Zappa's settings with all that it extends, the nearest word last."""
    own = settings[name]
    return {**(inherited(settings, own["extends"]) if "extends" in own else {}), **own}
