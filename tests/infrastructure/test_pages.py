"""What the pages name is there: files, tests, links, calls of AWS and what they are told, Stripe's events.

Whether a page is right, only people can say.
"""

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.loaders import Loader

from vibecode.local.folder import REPOSITORY

PAGES = {
    str(page.relative_to(REPOSITORY)): page
    for page in (
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")),
        *sorted(REPOSITORY.glob("docs/**/*.md")),
    )
}
ROOTS = (REPOSITORY, REPOSITORY / "infrastructure")  # pages on the deployment begin there
PATH = re.compile(r"(?P<path>(?:[\w.-]+/)+[\w.-]+)(?:::(?P<test>\w+))?")
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]*)(?:#(?P<place>[\w-]+))?\)")
DRAWN = re.compile(r"<!-- drawn.*?/drawn -->", re.DOTALL)
BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
# What looks like a path: types of content, another's module, what a run makes.
NO_FILES = {"application/json", "stripe/params", ".local/processes.json"}

COMMAND = re.compile(r"\baws (?P<service>[a-z][a-z0-9-]*) (?P<deed>[a-z][a-z0-9-]*)(?P<told>[^|;&\n]*)")
OF_THE_CLI = {
    "region",
    "query",
    "output",
    "profile",
    "no-sign-request",
    "cli-binary-format",
    "cli-read-timeout",
    "max-items",
}
# What the CLI does by itself, of no one operation of the API.
BY_ITSELF = {"ecr get-login-password", "logs tail", "rds generate-db-auth-token", "rds wait"}
EVENT_OF_STRIPE = re.compile(r"(?:payment_intent|charge|refund)\.[a-z_.]+")


@pytest.mark.parametrize("name", PAGES)
def test_every_path_and_every_test_that_is_named_exists(name: str) -> None:
    missing = []
    for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", DRAWN.sub("", PAGES[name].read_text()))):
        if code in NO_FILES or not (found := PATH.fullmatch(code)):
            continue
        path = next((root / found["path"] for root in ROOTS if (root / found["path"]).exists()), None)
        if path is None or (found["test"] and f"def {found['test']}(" not in path.read_text()):
            missing.append(code)

    assert missing == []


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    missing = []
    for link in LINK.finditer(PAGES[name].read_text()):
        page = PAGES[name].parent / link["path"] if link["path"] else PAGES[name]
        if not page.exists() or (link["place"] and link["place"] not in _places(page)):
            missing.append(link[0])

    assert missing == []


def test_every_call_of_aws_on_a_page_is_one_and_takes_what_it_is_told() -> None:
    said = [(name, *call) for name, page in PAGES.items() for call in calls(page.read_text())]

    assert len(said) > 60
    assert [call for call in said if _wrong(*call[1:])] == []


@pytest.mark.parametrize(
    "command",
    [
        "aws rds restore-db-clusters",
        "aws rds describe-db-clusters --db-cluster-name x",
        "aws lambda list-functions --no-such-thing",
        "aws nothing describe-it",
    ],
)
def test_a_call_that_is_none_is_found_also_inside_of_another(command: str) -> None:
    within = f"```sh\nfor each in $(aws sqs list-queues); do x $({command} --region 'a|b') \\\n  --y; done\n```"

    assert [call for call in calls(within) if _wrong(*call)] != []


def test_the_events_that_stripe_is_told_to_send_are_those_that_the_webhook_understands() -> None:
    webhook = ast.parse((REPOSITORY / "orders/payments/webhook.py").read_text())
    texts = (each.value for each in ast.walk(webhook) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    understood = {text for text in texts if EVENT_OF_STRIPE.fullmatch(text)}
    listed = re.findall(rf"`({EVENT_OF_STRIPE.pattern})`", PAGES["docs/deploy.md"].read_text())

    assert sorted(listed) == sorted(understood)


def calls(page: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Service, deed and options of every command of AWS's CLI on a page."""
    for code in (*BLOCK.findall(page), *re.findall(r"`(aws [^`]+)`", BLOCK.sub("", page))):
        plain = re.sub(r"'[^']*'|#.*", " ", code.replace("\\\n", " "))
        while nested := re.findall(r"\$\(([^()]*)\)", plain):
            for inner in nested:
                yield from _said(inner)
            plain = re.sub(r"\$\([^()]*\)", "X", plain)
        yield from _said(plain)


def _said(plain: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    for found in COMMAND.finditer(plain):
        yield found["service"], found["deed"], frozenset(re.findall(r"(?<!\S)--([a-z][a-z0-9-]*)", found["told"]))


def _wrong(service: str, deed: str, options: frozenset[str]) -> bool:
    """Whether AWS knows no such call, or it takes another option."""
    if f"{service} {deed}" in BY_ITSELF:
        return False
    known = _operations(service).get(deed)
    if known is None:
        return True
    return not all(option.removeprefix("no-") in known or option in known for option in options - OF_THE_CLI)


@functools.cache
def _operations(service: str) -> Mapping[str, set[str]]:
    """What each operation of a service is told, in the words of the CLI; none where there is no such service."""
    loader = Loader()
    if service not in loader.list_available_services("service-2"):
        return {}
    model: Mapping[str, Any] = loader.load_service_model(service, "service-2")
    return {
        xform_name(operation, "-"): {
            xform_name(member, "-") for member in model["shapes"][about["input"]["shape"]].get("members", {})
        }
        if "input" in about
        else set()
        for operation, about in model["operations"].items()
    }


def _places(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
