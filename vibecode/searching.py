"""What an index can look for. Called by the QuerySets that search."""

import re

_TRIGRAM = re.compile(r"[A-Za-z0-9]{3}")


def has_trigram(words: str) -> bool:
    """Whether an index of trigrams can look for the words anywhere in a text: three letters or digits in a row.

    Of other scripts it knows nothing where the database's locale is C, as on a developer's machine.
    """
    return bool(_TRIGRAM.search(words))
