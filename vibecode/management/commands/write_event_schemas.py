"""`manage.py write_event_schemas`: writes the JSON Schema of each fact that is new or has grown, beside its app."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from vibecode.schemas import broken_promises, facts, file_of, promised, schema_of, text_of


class Command(BaseCommand):
    """Never changes what was promised: a breaking change asks for a new schema_version with a file of its own."""

    requires_system_checks = ()  # they ask the database, which has nothing to say here
    help = "Write the JSON Schemas of our facts; refuse where consumers would break."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whether to write."""
        parser.add_argument("--check", action="store_true", help="write nothing; fail where something is to be written")

    def handle(self, *, check: bool, **_options: Any) -> None:
        """Write, or say what is missing."""
        if broken := broken_promises():
            raise CommandError("\n".join(broken))
        stale = [fact for fact in facts() if promised(fact) != schema_of(fact)]
        for fact in stale:
            file = file_of(fact)
            if not check:
                file.parent.mkdir(exist_ok=True)
                file.write_text(text_of(schema_of(fact)))
            self.stdout.write(f"{'to be written' if check else 'written'}: {file.relative_to(settings.BASE_DIR)}")
        if check and stale:
            raise CommandError("Run manage.py write_event_schemas and commit what it writes.")
        if not stale:
            self.stdout.write(f"{len(facts())} schemas say what is published")
