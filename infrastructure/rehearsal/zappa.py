"""The unmodified `zappa` command, for the rehearsal."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from infrastructure.hand_over import Document, complete
from infrastructure.rehearsal.visitors import expect
from vibecode.local import ports
from vibecode.local.folder import REPOSITORY


class Zappa:
    """The unmodified `zappa` command against the local AWS, with the settings that the hand-over completes."""

    def __init__(self, stage: str, folder: Path, architecture: str, environment: Mapping[str, str]) -> None:
        self.functions = (f"{stage}-worker", stage)  # as Zappa calls them: who consumes first
        self._folder, self._architecture = folder, architecture
        self._environment = {
            **environment,
            "AWS_ACCESS_KEY_ID": "zappa",
            "AWS_SECRET_ACCESS_KEY": "zappa",
            "HTTPS_PROXY": f"http://{ports.HOST}:9",  # nobody: Zappa would ask the world for newer versions of itself
        }
        self._settings = folder / "zappa_settings.json"

    def take(self, document: Document) -> None:
        """Complete the committed settings by a hand-over."""
        settings = complete(json.loads((REPOSITORY / "zappa_settings.json").read_text()), document)
        for stage in self.functions:
            settings[stage]["architecture"] = self._architecture  # this machine runs it
        self._settings.write_text(json.dumps(settings))

    def run(self, *words: str) -> str:
        """`zappa …`; what it printed. Raises WentWrong."""
        command = [str(Path(sys.executable).with_name("zappa")), *words, "--settings_file", str(self._settings)]
        done = subprocess.run(  # noqa: S603 -- our own command
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        expect(done.returncode == 0 and "Traceback" not in said, f"zappa {' '.join(words)}: {said[-3000:]}")
        return done.stdout

    def deploy(self, name: str, archive: Path) -> str:
        """`zappa deploy`; the address that it made, if any."""
        return self.run("deploy", name, "--zip", str(archive)).partition("Deployment complete!")[2].strip(" :\n")

    def update(self, archive: Path, *names: str) -> None:
        """`zappa update` of these functions, in this order; of both where none is named."""
        for name in names or self.functions:
            self.run("update", name, "--zip", str(archive))
