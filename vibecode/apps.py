"""The app as the admin calls it, and who acts where a command runs."""

import sys
from pathlib import Path

from django.apps import AppConfig

from vibecode.acting import act_as

COMMAND_LINES = ("manage.py", "django/__main__.py")


class VibecodeConfig(AppConfig):
    """Machinery."""

    name = "vibecode"
    verbose_name = "Machinery"

    def ready(self) -> None:
        """A command acts in its own name; threads that it starts serve others, and begin as nobody."""
        if Path(sys.argv[0]).as_posix().endswith(COMMAND_LINES):
            act_as(" ".join(["command", *sys.argv[1:2]]))
