"""What an index can look for. Called by the QuerySets that search."""

import re
from functools import cache

from django.db import connection

_OURS = re.compile(r"[A-Za-z0-9]{3}")
_OF_ANY_SCRIPT = re.compile(r"[^\W_]{3}")


def has_trigram(words: str) -> bool:
    """Whether an index of trigrams can look for the words anywhere in a text: three letters or digits in a row."""
    return bool(_OURS.search(words) or (_OF_ANY_SCRIPT.search(words) and knows_every_script()))


@cache
def knows_every_script() -> bool:
    """Whether the database has trigrams of all letters, asked once a process.

    Where its locale is C, as on a developer's machine, it takes those of ASCII alone for letters.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT cardinality(show_trgm('Иванов')) > 0")
        return bool(cursor.fetchone()[0])
