"""`python -m infrastructure.diagrams`: draws docs/infrastructure.md anew from the committed templates of production.

`--check` writes nothing and ends with 1 where the page is not what would be drawn: `make check` asks for that.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from infrastructure.config import STAGES
from infrastructure.costs.__main__ import read_templates
from infrastructure.costs.counting import of_stage
from infrastructure.diagrams import drawing
from infrastructure.diagrams.reading import Stacks
from infrastructure.judging import HERE, SNAPSHOTS

PAGE = HERE.parent / "docs" / "infrastructure.md"
STAGE = STAGES["production"]
DRAWN: Mapping[str, Callable[[Stacks], Iterator[str]]] = {
    "network": drawing.network,
    "flow": drawing.flow,
    "callers": drawing.callers,
    "rights": drawing.table,
}
TABLES = {"rights"}
PLACE = re.compile(r"<!-- drawn: (\w+) -->\n.*?<!-- /drawn -->", re.DOTALL)


def drawn(page: str, stacks: Stacks) -> str:
    """The page with every picture drawn anew. Raises KeyError for one that nobody draws."""

    def picture(place: re.Match[str]) -> str:
        name = place[1]
        lines = "\n".join(DRAWN[name](stacks))
        body = lines if name in TABLES else f"```mermaid\n{lines}\n```"
        return f"<!-- drawn: {name} -->\n{body}\n<!-- /drawn -->"

    return PLACE.sub(picture, page)


def main(words: Sequence[str] | None = None) -> int:
    """Draw, or say what is old."""
    parser = argparse.ArgumentParser(prog="python -m infrastructure.diagrams", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where the page is old")
    parser.add_argument("--templates", type=Path, default=SNAPSHOTS, help="a folder of templates: <stack>.json")
    given = parser.parse_args(words)
    page = PAGE.read_text()
    new = drawn(page, Stacks(of_stage(read_templates(given.templates), STAGE.prefix), STAGE.prefix))
    if new == page:
        return 0
    if given.check:
        print(f"{PAGE.name} is old: draw it with python -m infrastructure.diagrams")  # noqa: T201 -- the output of a command
        return 1
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
