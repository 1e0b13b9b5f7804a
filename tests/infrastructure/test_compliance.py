"""What docs/compliance.md names are controls, and docs/security.md leaves out nothing that is kept.

Whether it is enough, only people can say.
"""

import re
from collections.abc import Iterator, Mapping

from infrastructure.config import STAGES
from infrastructure.judging import SNAPSHOTS
from tests.infrastructure.templates import ACCOUNT, Template, resources
from vibecode.local.folder import REPOSITORY

KEEPING = ("AWS::S3::Bucket", "AWS::Logs::LogGroup")


def text(name: str) -> str:
    """A document of docs/."""
    return (REPOSITORY / "docs" / f"{name}.md").read_text()


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


def test_every_stack_that_a_control_names_is_one() -> None:
    stacks = {path.stem.removeprefix("vibecode-production-") for path in SNAPSHOTS.glob("vibecode-*.json")}
    stacks |= {path.stem.removeprefix("vibecode-") for path in SNAPSHOTS.glob("vibecode-*.json")}

    named_stacks = {stack for row in controls() for stack in row["stack"].split(", ") if stack}

    assert named_stacks - stacks == set()


def test_every_bucket_and_every_log_is_in_the_register_of_what_is_kept(
    templates: Mapping[str, Template], everything: Mapping[str, Template]
) -> None:
    kept = text("security").partition("## What is kept, and where")[2].partition("\n## ")[0]
    cells = [line.split("|")[1:3] for line in kept.splitlines() if line.startswith("|")]
    buckets, logs = set(), set()
    for each in (*resources(templates, *KEEPING), *resources(everything, *KEEPING)):
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
