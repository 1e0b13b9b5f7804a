"""How SES is waited for until it has verified a domain. Exact calls, by stubbed_aws.py."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from infrastructure.config import STAGES
from infrastructure.deploying import sender, waiting
from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.functions import Functions
from infrastructure.deploying.operations import Operations
from infrastructure.deploying.record import Attempt, Lost, Release
from infrastructure.deploying.releases import Bucket
from infrastructure.deploying.sender import wait_for_sender
from infrastructure.deploying.stacks import Stacks
from infrastructure.deploying.steps import Deploy, Tools
from infrastructure.deploying.waiting import Turn
from tests.infrastructure.stubbed_aws import NETWORK, Aws


@pytest.fixture
def domain(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A stage with a domain."""
    monkeypatch.setattr(waiting, "PAUSE", 0)
    monkeypatch.setattr(sender, "SAID", 0)
    return Account(replace(STAGES["dev"], domain="shop.example", hosted_zone="Z1"), aws.make)


def is_known_to_ses(aws: Aws, *statuses: str) -> None:
    for status in statuses:
        about = {"VerifiedForSendingStatus": status == "SUCCESS", "VerificationStatus": status}
        aws("sesv2").add_response("get_email_identity", about, {"EmailIdentity": "shop.example"})


def test_the_pool_waits_until_ses_has_verified_the_domain(aws: Aws, domain: Account) -> None:
    is_known_to_ses(aws, "NOT_STARTED", "PENDING", "TEMPORARY_FAILURE", "SUCCESS")
    heard: list[str] = []

    assert wait_for_sender(domain, Turn(), heard.append) == "shop.example is verified"

    assert [each.partition(",")[0] for each in heard] == [
        f"SES looks for the records of shop.example: {status}"
        for status in ("NOT_STARTED", "PENDING", "TEMPORARY_FAILURE")
    ]


@pytest.mark.parametrize("status", ["FAILED", "PENDING"])
def test_a_domain_that_ses_does_not_verify_is_named_with_what_helps(
    aws: Aws, domain: Account, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    if status == "PENDING":
        monkeypatch.setattr(sender, "WAITED", 0)
    is_known_to_ses(aws, status)

    with pytest.raises(Refused, match=rf"not verified shop\.example \({status}.*its zone Z1.*dig \+short NS"):
        wait_for_sender(domain, Turn(), lambda _: None)


def test_who_lost_the_stage_waits_for_no_domain_more(aws: Aws, domain: Account) -> None:
    is_known_to_ses(aws, "PENDING")

    with pytest.raises(Lost):
        wait_for_sender(domain, Turn(lambda: False), lambda _: None)


def test_the_domain_is_waited_for_between_its_records_and_the_pool_where_there_is_one(
    aws: Aws, domain: Account
) -> None:
    def order(account: Account) -> list[str]:
        templates = {what: replace(NETWORK, what=what) for what in ("messaging", "identity")}
        record: Any = SimpleNamespace(attempt=Attempt(kind="deploy", release=Release(name="new", source="1")))
        there = Functions(account, Turn())
        tools = Tools(
            stacks=Stacks(account, templates),
            functions=there,
            operations=Operations(there),
            bucket=Bucket(account),
            record=record,
        )
        return [step.name for step in Deploy(tools, None).steps()]

    assert order(domain)[:3] == ["stack messaging", "sender", "stack identity"]
    assert "sender" not in order(aws.account)
