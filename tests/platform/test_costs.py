"""What AWS has billed, as the command `costs` shows it: exact calls, pages, throttling, and every refusal in words."""

import io
import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from botocore.stub import Stubber
from django.conf import settings
from django.core.management import CommandError, call_command

from tests.plain import PLAIN
from vibecode import aws, spending
from vibecode.local.ports import HOST, free_port

OCTOBER = {"Start": "2026-10-01", "End": "2026-11-01"}
TODAY = date(2026, 11, 26)
ASKED = {
    "TimePeriod": OCTOBER,
    "Granularity": "MONTHLY",
    "Metrics": ["UnblendedCost"],
    "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}],
}


def month(period: dict[str, str], *, estimated: bool = False, **services: str) -> dict[str, Any]:
    """A result as Cost Explorer writes it; ``_`` in a service's name is a space."""
    return {
        "TimePeriod": period,
        "Total": {},
        "Groups": [
            {"Keys": [name.replace("_", " ")], "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": "USD"}}}
            for name, amount in services.items()
        ],
        "Estimated": estimated,
    }


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's clock."""
    monkeypatch.setattr("vibecode.management.commands.costs._today", lambda: TODAY)


@pytest.fixture
def stub() -> Iterator[Stubber]:
    """Cost Explorer as botocore knows it: every call must be exactly the one that is expected."""
    with Stubber(aws.client("ce", seconds=20, tries=spending.TRIES)) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def shown(*words: str) -> str:
    """What the command prints."""
    output = io.StringIO()
    call_command("costs", *words, stdout=output)
    return output.getvalue()


def refusal(*words: str) -> str:
    """What it says when it cannot."""
    with pytest.raises(CommandError) as refused:
        shown(*words)
    return str(refused.value)


def test_the_local_aws_is_asked_for_two_months_and_the_dearest_service_comes_first() -> None:
    november = {"Start": "2026-11-01", "End": "2026-12-01"}
    told = {
        "ResultsByTime": [
            month(OCTOBER, AWS_Lambda="1.005", Amazon_RDS="40.25", AWS_Glue="0.0001"),
            month(november, estimated=True, Amazon_RDS="12"),
        ]
    }
    address = f"{settings.AWS_ENDPOINT_URL}/moto-api/static/ce/cost-and-usage-results"
    assert httpx.post(address, json={"results": [told]}, **PLAIN).status_code == 201

    lines = shown("--start", "2026-10-01", "--end", "2026-12-01").splitlines()

    assert [line.split() for line in lines[:4]] == [
        ["2026-10", "2026-11*", "together"],
        ["Amazon", "RDS", "40.25", "12.00", "52.25"],
        ["AWS", "Lambda", "1.00", "0.00", "1.00"],
        ["total,", "USD", "41.26", "12.00", "53.26"],
    ]
    assert lines[4].startswith("(1 more cost less than half a cent")
    assert lines[5] == "* an estimate: AWS has not closed this month's bill"


def test_every_page_is_asked_for_and_a_month_may_be_spread_over_two(stub: Stubber) -> None:
    first = {"ResultsByTime": [month(OCTOBER, AWS_Lambda="0.1", Amazon_RDS="40")], "NextPageToken": "more"}
    second = {"ResultsByTime": [month(OCTOBER, Amazon_RDS="0.25", Amazon_SQS="0.2")]}
    stub.add_response("get_cost_and_usage", first, ASKED)
    stub.add_response("get_cost_and_usage", second, {**ASKED, "NextPageToken": "more"})

    (told,) = json.loads(shown("--start", "2026-10-01", "--end", "2026-11-01", "--json"))

    assert told["services"] == {"AWS Lambda": "0.1", "Amazon RDS": "40.25", "Amazon SQS": "0.2"}
    assert told["total"] == "40.55"
    assert (told["currency"], told["estimated"]) == ("USD", False)


def test_a_stage_is_asked_for_by_its_tags(stub: Stubber) -> None:
    tags = [{"Tags": {"Key": "app", "Values": ["vibecode"]}}, {"Tags": {"Key": "stage", "Values": ["staging"]}}]
    stub.add_response("get_cost_and_usage", {"ResultsByTime": [month(OCTOBER)]}, {**ASKED, "Filter": {"And": tags}})

    text = shown("--start", "2026-10-01", "--end", "2026-11-01", "--stage", "staging")

    assert text == "Nothing was spent in this time.\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDeniedException", "ce:GetCostAndUsage"),
        ("ExpiredTokenException", "sign in again"),
        ("DataUnavailableException", "a day after it was switched on"),
        ("LimitExceededException", "ask again in some minutes"),
        ("ValidationException", "ValidationException: no"),
    ],
)
def test_a_refusal_of_aws_says_what_to_do(stub: Stubber, code: str, words: str) -> None:
    stub.add_client_error("get_cost_and_usage", code, "no", http_status_code=400)

    assert words in refusal("--start", "2026-10-01", "--end", "2026-11-01")


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2026-10-01", "2026-10-01", "must be after --start"),
        ("2026-11-01", "2026-10-01", "must be after --start"),
        ("2026-11-27", "2026-12-01", "--start is in the future"),
        ("2026-11-01", "2026-12-02", "the last one that Cost Explorer takes is 2026-12-01"),
        ("2025-09-30", "2026-11-01", "goes back to 2025-10-01"),
        ("2026-13-01", "2026-11-01", "--start must be a day such as 2026-10-01; it is '2026-13-01'."),
        ("2026-10-01", "yesterday", "--end must be a day such as 2026-10-01; it is 'yesterday'."),
    ],
)
def test_days_that_cannot_be_are_refused_before_a_cent_is_spent(
    stub: Stubber, start: str, end: str, words: str
) -> None:
    assert words in refusal("--start", start, "--end", end)


class Crowded(BaseHTTPRequestHandler):
    """Cost Explorer that admits the second request."""

    asked = 0

    def do_POST(self) -> None:
        """Refuse, then answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked += 1
        status, body = 200, json.dumps({"ResultsByTime": [month(OCTOBER, Amazon_RDS="40")]})
        if self.asked == 1:
            status, body = 400, json.dumps({"__type": "LimitExceededException", "Message": "Rate exceeded"})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_what_is_throttled_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer((HOST, free_port()), Crowded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{server.server_port}")
    aws.client.cache_clear()  # type: ignore[attr-defined]  # of functools.cache, which the overloads hide
    try:
        assert "40.00" in shown("--start", "2026-10-01", "--end", "2026-11-01")
    finally:
        server.shutdown()
        server.server_close()
        aws.client.cache_clear()  # type: ignore[attr-defined]  # as above

    assert Crowded.asked == 2


def test_without_aws_the_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{free_port()}")
    monkeypatch.setattr(spending, "TRIES", 1)
    aws.client.cache_clear()  # type: ignore[attr-defined]  # as above
    try:
        assert "Cost Explorer was not reached" in refusal("--start", "2026-10-01", "--end", "2026-11-01")
    finally:
        aws.client.cache_clear()  # type: ignore[attr-defined]  # as above


def test_a_bill_is_asked_of_aws_itself_whatever_the_shop_talks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    aws.client.cache_clear()  # type: ignore[attr-defined]  # as above
    try:
        assert aws.client("ce").meta.endpoint_url == "https://ce.us-east-1.amazonaws.com"
    finally:
        aws.client.cache_clear()  # type: ignore[attr-defined]  # as above
