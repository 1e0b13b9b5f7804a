"""What docs/security.md and docs/compliance.md name is there: files, tests, stacks, links.

Whether it is enough, only people can say.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infrastructure.config import STAGES
from infrastructure.judging import SNAPSHOTS
from tests.infrastructure.templates import ACCOUNT, Template, resources
from vibecode.local.folder import REPOSITORY

DOCUMENTS = ("security", "compliance", "infrastructure")
PATH = re.compile(r"(?P<path>(?:[\w.-]+/)+[\w.-]+)(?:::(?P<test>\w+))?")
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]*)(?:#(?P<place>[\w-]+))?\)")
KEEPING = ("AWS::S3::Bucket", "AWS::Logs::LogGroup")
# Keys of buckets, and paths of addresses, look like paths.
NO_FILES = {"products/", "uploads/", "/api/", "/admin/"}


def text(name: str) -> str:
    """A document of docs/."""
    return (REPOSITORY / "docs" / f"{name}.md").read_text()


def named(name: str) -> Iterator[re.Match[str]]:
    """Every path in a document's code."""
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"<!-- drawn.*?/drawn -->", "", text(name), flags=re.DOTALL)):
        if code not in NO_FILES and (found := PATH.fullmatch(code)):
            yield found


def controls() -> Iterator[Mapping[str, str]]:
    """The rows of the tables of controls."""
    heads: list[str] = []
    for line in text("compliance").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if "control" in cells:
            heads = cells
        elif cells and heads and not set(line) <= set("|-"):
            yield dict(zip(heads, cells, strict=True))
        elif not cells:
            heads = []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_and_every_test_that_is_named_exists(name: str) -> None:
    missing = []
    for found in named(name):
        path = REPOSITORY / found["path"]
        if not path.exists() or (found["test"] and f"def {found['test']}(" not in path.read_text()):
            missing.append(found[0])

    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    missing = []
    for link in LINK.finditer(text(name)):
        page = REPOSITORY / "docs" / (link["path"] or f"{name}.md")
        if not page.exists() or (link["place"] and link["place"] not in _places(page)):
            missing.append(link[0])

    assert missing == []


def test_every_stack_that_a_control_names_is_one() -> None:
    stacks = {path.stem.removeprefix("vibecode-production-") for path in SNAPSHOTS.glob("vibecode-*.json")}
    stacks |= {path.stem.removeprefix("vibecode-") for path in SNAPSHOTS.glob("vibecode-*.json")}

    named_stacks = {stack for row in controls() for stack in row["stack"].split(", ") if stack}

    assert named_stacks - stacks == set()


def test_every_bucket_and_every_log_is_in_the_register_of_what_is_kept(
    templates: Mapping[str, Template], full: Mapping[str, Template]
) -> None:
    kept = text("security").partition("## What is kept, and where")[2].partition("\n## ")[0]
    cells = [line.split("|")[1:3] for line in kept.splitlines() if line.startswith("|")]
    buckets, logs = set(), set()
    for each in (*resources(templates, *KEEPING), *resources(full, *KEEPING)):
        name = each.properties.get("BucketName") or each.properties["LogGroupName"]
        if each.type == "AWS::S3::Bucket":
            buckets.add(name.removesuffix(f"-{ACCOUNT}").removeprefix(f"vibecode-{each.stage}-"))
        else:
            logs.add(name.replace(each.stage, "<stage>") if each.stage in STAGES else name)

    assert buckets - set(re.findall(r"`([\w-]+)`", " ".join(where for _, where in cells))) == set()
    assert logs == set(re.findall(r"`([\w/<>-]*(?:/|logs-)[\w/<>-]+)`", " ".join(what for what, _ in cells)))


def test_every_control_names_code_that_does_it() -> None:
    rows = list(controls())

    assert len(rows) >= 30
    assert [row["control"] for row in rows if "`" not in row["code"]] == []


def test_what_is_not_covered_is_said() -> None:
    said = text("compliance").partition("## What is not covered")[2]

    assert all(word in said for word in ("Erasure", "second region", "CloudTrail", "Penetration test"))


def _places(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
