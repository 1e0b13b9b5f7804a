"""Whether the templates may go to AWS: cdk-nag's rules, cfn-lint's, and what changed since they were last read.

Called by `make check`. What is accepted stands beside what it is about, with its reason: `accept` in parts.py.
"""

import difflib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infrastructure.parts import PACKS

HERE = Path(__file__).resolve().parent
SNAPSHOTS = HERE / "templates"  # committed: a change of a stack is read as a change of its template
SHOWN = 60  # lines of a difference

type Templates = Mapping[str, Mapping[str, Any]]


def complaints_of_nag(report: Path) -> Iterator[str]:
    """Every finding that nobody accepted: the rule, and the construct; also each pack that has judged nothing."""
    plugins = {plugin["pluginName"]: plugin for plugin in json.loads(report.read_text())["pluginReports"]}
    for pack in sorted(set(PACKS) - plugins.keys()):
        yield f"cdk-nag's {pack} has not judged: {report} says nothing of it"
    for plugin in plugins.values():
        for found in plugin["violations"]:
            for construct in found["violatingConstructs"]:
                yield f"{found['ruleName']}: {construct['constructPath']}: {found['description']}"


def accepted(folder: Path) -> dict[tuple[str, str], str]:
    """What is accepted in the templates of a folder, by construct and rule: the reason."""
    known = [f"{pack}::{pack}-" for pack in PACKS]  # CDK accepts some warnings of its own, without a pack
    return {
        (construct.removeprefix("/"), rule): reason
        for path in sorted(folder.rglob("*.metadata.json"))
        for construct, entries in json.loads(path.read_text()).items()
        for entry in entries
        if entry["type"] == "aws:cdk:acknowledged-rules"
        for name, reason in entry["data"].items()
        for rule in (name.removeprefix(pack) for pack in known if name.startswith(pack))
    }


def idle(folder: Path) -> Iterator[str]:
    """What is accepted and was found by neither pack: it would hide what comes."""
    plugins = json.loads((folder / "validation-report.json").read_text())["pluginReports"]
    found = {
        (each["acknowledgedAt"], each["acknowledgedId"].partition("::")[2].removeprefix(f"{plugin['pluginName']}-"))
        for plugin in plugins
        for each in plugin["suppressedViolations"]
    }
    for construct, rule in sorted(accepted(folder).keys() - found):
        yield f"{rule} is accepted in {construct}, and nothing was found there: it need not be"


def complaints_of_lint(folder: Path) -> Iterator[str]:
    """What cfn-lint says of the templates in a folder; .cfnlintrc says what it is not asked."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "parseable", "--"]
    templates = sorted(map(str, folder.rglob("*.template.json")))
    if not templates:
        yield f"cfn-lint has not judged: there is no template in {folder}"
        return
    said = subprocess.run(  # noqa: S603 -- our own tool, of our own files
        [*command, *templates], cwd=HERE.parent, capture_output=True, text=True, check=False
    )
    if said.returncode and not said.stdout:
        raise RuntimeError(f"cfn-lint cannot run: {said.stderr.strip()}")
    yield from said.stdout.splitlines()


def as_text(template: Mapping[str, Any]) -> str:
    """A template as its snapshot has it."""
    return json.dumps(template, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def changes_of_snapshots(templates: Templates) -> Iterator[str]:
    """How the templates, by the names of their stacks, differ from what is committed; at most SHOWN lines of each."""
    known = {path.stem: path for path in SNAPSHOTS.glob("*.json")}
    for name in sorted({*known, *templates}):
        before = known[name].read_text() if name in known else ""
        now = as_text(templates[name]) if name in templates else ""
        lines = list(difflib.unified_diff(before.splitlines(), now.splitlines(), name, name, lineterm="", n=2))
        if lines:
            more = [f"… and {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
            yield "\n".join([*lines[:SHOWN], *more])


def write_snapshots(templates: Templates) -> None:
    """Keep the templates as they are now."""
    SNAPSHOTS.mkdir(exist_ok=True)
    for path in SNAPSHOTS.glob("*.json"):
        if path.stem not in templates:
            path.unlink()
    for name, template in templates.items():
        (SNAPSHOTS / f"{name}.json").write_text(as_text(template))
