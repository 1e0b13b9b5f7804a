#!/usr/bin/env python
"""Django's command line. On the laptop it joins the running local cloud, or starts what the command needs."""

import os
import sys


def main() -> None:
    """Run one command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibecode.settings")
    from django.core.management import execute_from_command_line

    if os.environ.get("STAGE", "local") in {"", "local"}:
        from vibecode.local.environment import local_cloud

        with local_cloud(sys.argv):
            execute_from_command_line(sys.argv)
    else:
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
