"""Bring the database up to date and look after the demo shop, in one process. Run by `make run` and runserver."""

import os

import django
from django.core.management import call_command


def main() -> None:
    """Migrate, then load the demo shop into an empty database."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vibecode.settings")
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("load_demo_shop")


if __name__ == "__main__":
    main()
