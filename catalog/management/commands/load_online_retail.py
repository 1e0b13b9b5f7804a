"""`manage.py load_online_retail FILE`: makes a catalogue, with stock, of a file in the form of UCI's Online Retail."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from catalog.loading import load_catalogue
from catalog.online_retail import Garbled, LeftOut, catalogue_of, read_file
from vibecode.management.progress import progress_bar

MOST_NAMED = 12


class Command(BaseCommand):
    """Products, prices, categories and stock from real invoices, so that they can be replayed. Twice is harmless."""

    help = (
        "Make a catalogue of a CSV (or .csv.gz) in the form of the Online Retail data set, and set each SKU's stock to "
        "the sum of its positive quantities. All or nothing; running it again changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which file."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")

    def handle(self, *, file: Path, dry_run: bool, **_options: Any) -> None:
        """Read, clean, load, and say what was left out."""
        try:
            retail = read_file(file)
        except Garbled as error:
            raise CommandError(str(error)) from None
        catalogue = catalogue_of(retail.lines)
        self.stdout.write(
            f"{retail.name}: {len(retail.lines):,} lines, "
            f"{len(catalogue.items) + sum(len(out.skus) for out in catalogue.left_out):,} codes"
        )
        for out in catalogue.left_out:
            self.stdout.write(f"left out  {_sentence(out)}")
        try:
            with progress_bar("Loading products", len(catalogue.items)) as advance:
                loaded = load_catalogue(items=catalogue.items, source=retail.name, dry_run=dry_run, advance=advance)
        except DatabaseError as error:
            raise CommandError(f"Nothing was loaded: {str(error).strip()}") from error
        self.stdout.write(
            f"products  {len(loaded.created):,} created, {len(loaded.changed):,} changed, "
            f"{loaded.unchanged:,} as they were; {loaded.categories} new categories"
        )
        self.stdout.write(f"stock     {loaded.movements:,} movements, {loaded.units:+,} units")
        if dry_run:
            self.stdout.write("dry run: nothing of this was kept")


def _sentence(out: LeftOut) -> str:
    named = ", ".join(out.skus[:MOST_NAMED]) + (", …" if len(out.skus) > MOST_NAMED else "")
    return f"{out.reason}: {len(out.skus)} codes, {out.lines} lines ({named})"
