"""The package in AWS's own runtime: the zip itself, unpacked, and nothing else in its path."""

import base64
import copy
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import transaction

from catalog.models import Product
from orders.models import Order
from tests.accounts.provider import Provider
from tests.in_process import make_product, shelf, sign_in
from tests.roles import two_roles
from vibecode import aws, operations
from vibecode.lambda_entry import handler
from vibecode.local.lambda_runtime import Context
from vibecode.local.sandboxes import HOST, Function, Pool, SandboxDied, pool
from vibecode.resources import TIME_OUTS

# Its secret is being changed: two are known.
BEHIND_CLOUDFRONT = {
    "PUBLIC_URL": "https://shop.example",
    "ORIGIN_SECRET_SHA256": ",".join(hashlib.sha256(secret).hexdigest() for secret in (b"known", b"the next")),
    "RATE_ANONYMOUS": "1000/day",  # the day does not turn in between, but once
}

type Ask = Callable[..., dict[str, Any]]


def serve(task: Path, environment: dict[str, str], log: Path, *, timeout: int = 29, name: str = "vibecode-dev") -> Any:
    """A function of the stage dev, the web's if no other is named."""
    return pool(Function(name, task, "vibecode.lambda_entry.handler", timeout, 1024, environment), log)


def request(event: dict[str, Any], method: str, path: str, body: str | None = None, **headers: str) -> dict[str, Any]:
    """AWS's own document of a request, with another request in it."""
    sent = {
        "Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443",
        "X-Forwarded-For": "6.6.6.6, 203.0.113.7", "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }  # fmt: skip
    changed = copy.deepcopy(event)
    changed["requestContext"] |= {"stage": "dev", "identity": {"sourceIp": "203.0.113.7"}}
    return changed | {
        "httpMethod": method,
        "path": path,
        "body": body,
        "isBase64Encoded": False,
        "stageVariables": None,
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
    }


@pytest.fixture
def ask(aws_events: dict[str, Any]) -> Ask:
    """Ask a function for something: its answer as API Gateway gets it."""

    def asked(function: Pool, method: str, path: str, body: str | None = None, **headers: str) -> dict[str, Any]:
        answer: dict[str, Any] = function.invoke(
            request(aws_events["apigateway aws-proxy"], method, path, body, **headers)
        )
        return answer

    return asked


def press_the_button(function: Pool, ask: Ask, login: dict[str, Any]) -> dict[str, Any]:
    """Send the form of the sign-in page."""
    token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', login["body"])[0]
    cookie = login["headers"]["Set-Cookie"].partition(";")[0]
    headers = {"Content_Type": "application/x-www-form-urlencoded", "Cookie": cookie, "Origin": f"https://{HOST}"}
    return ask(function, "POST", "/admin/sign-in", f"csrfmiddlewaretoken={token}", **headers)


def test_the_shop_answers_from_its_zip(
    task: Path, environment: dict[str, str], tmp_path: Path, ask: Ask, provider: Provider
) -> None:
    product = make_product(on_hand=3, price="2.50")
    with serve(task, environment | {"OIDC_ISSUER": provider.url}, tmp_path / "log") as function:
        assert json.loads(ask(function, "GET", "/healthz")["body"]) == {"status": "ok"}
        listed = json.loads(ask(function, "GET", "/api/v1/products")["body"])
        login = ask(function, "GET", "/admin/login/")
        sent_away = ask(function, "GET", "/admin/")
        to_provider = press_the_button(function, ask, login)
        files = re.findall(r'(?:href|src)="(/dev/static/[^"]+)"', login["body"])
        for file in files:
            found = ask(function, "GET", file.removeprefix("/dev"))
            assert found["statusCode"] == 200, file
        assert function.started == 1, "one sandbox answers all of them"

    assert [found["sku"] for found in listed["results"]] == [product.sku]
    assert len(files) > 8
    assert sent_away["statusCode"] == 302
    assert sent_away["headers"]["Location"] == "/dev/admin/login/?next=/dev/admin/"
    assert to_provider["headers"]["Location"].startswith(f"{provider.url}/oauth2/authorize?")
    assert {"HttpOnly", "SameSite=Lax", "Secure"} <= set(to_provider["headers"]["Set-Cookie"].split("; "))
    assert "6.6.6.6" not in re.sub(r"zappa.wsgi.*|.*zappa.wsgi", "", (tmp_path / "log").read_text())


def test_behind_the_public_origin_no_address_has_the_stage_in_it(
    task: Path, environment: dict[str, str], tmp_path: Path, ask: Ask
) -> None:
    known = {"X_Origin_Secret": "known"}
    with serve(task, environment | BEHIND_CLOUDFRONT, tmp_path / "log") as function:
        sent_away = ask(function, "GET", "/admin/", **known)
        login = ask(function, "GET", "/admin/login/", **known)
        elsewhere = ask(function, "GET", "/dev/admin/login/", **known)
        product = ask(function, "GET", "/api/v1/products/T%C3%84", **known)

    assert sent_away["headers"]["Location"] == "/admin/login/?next=/admin/"
    assert "/dev/" not in login["body"]
    assert elsewhere["statusCode"] == 404, "the stage is the origin's path, no part of the shop's"
    assert json.loads(product["body"])["instance"] == "/api/v1/products/TÄ"


def test_behind_an_origin_with_a_secret_only_who_knows_it_is_answered_and_believed(
    task: Path, environment: dict[str, str], tmp_path: Path, ask: Ask, aws_events: dict[str, Any]
) -> None:
    def left(function: Pool, secret: str, viewer: str) -> int:
        chain = f"9.9.9.9, {viewer}, 130.176.0.1"
        event = request(aws_events["apigateway aws-proxy"], "GET", "/api/v1/products")
        for headers in ("headers", "multiValueHeaders"):
            for name, value in (
                ("X-Origin-Secret", secret), ("X-Forwarded-For", chain), ("X_Forwarded_For", f"{uuid.uuid4()}, x"),
            ):  # fmt: skip
                event[headers][name] = [value] if headers == "multiValueHeaders" else value
        answer = function.invoke(event)
        assert answer["statusCode"] == 200
        return int(answer["headers"]["RateLimit-Remaining"])

    with serve(task, environment | BEHIND_CLOUDFRONT, tmp_path / "log") as function:
        refused = [
            ask(function, "GET", path, **headers)
            for path in ("/api/v1/products", "/healthz", "/admin/")
            for headers in ({}, {"X_Origin_Secret": "guessed"})
        ]
        first, again, another = (
            left(function, *who) for who in (("known", "1.1.1.1"), ("the next", "1.1.1.1"), ("known", "2.2.2.2"))
        )

    assert [answer["statusCode"] for answer in refused] == [403] * 6
    assert "https://shop.example" in json.loads(refused[0]["body"])["detail"]
    assert (again, another) == (first - 1, first)
    assert "known" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"body": "no base64!", "isBase64Encoded": True}, 400),
        ({"body": base64.b64encode(b"{").decode(), "isBase64Encoded": True}, 400),
        ({"headers": None, "multiValueHeaders": None}, 401),
        ({"body": json.dumps({"note": "x" * 5_900_000})}, 413),
        ({"body": None}, 401),
    ],
    ids=["no base64", "no JSON", "no headers", "six megabytes", "no body"],
)
def test_bad_input_of_the_gateway_gets_a_clear_answer(
    task: Path, environment: dict[str, str], tmp_path: Path, aws_events: dict[str, Any], change: dict[str, Any],
    status: int,
) -> None:  # fmt: skip
    token = sign_in("lambda@example.com")["AccessToken"] if status in {400, 413} else ""
    signed = {"Authorization": f"Bearer {token}", "Idempotency_Key": uuid.uuid4().hex} if token else {}
    event = request(aws_events["apigateway aws-proxy"], "POST", "/api/v1/orders", "{}", **signed) | change

    with serve(task, environment, tmp_path / "log") as function:
        answer = function.invoke(event)
        logged = (tmp_path / "log").read_text()

    assert answer["statusCode"] == status
    assert json.loads(answer["body"])["status"] == status
    assert "Traceback" not in logged


def test_a_sandbox_that_is_killed_in_the_middle_of_an_order_leaves_one_order_after_the_retry(
    task: Path, environment: dict[str, str], tmp_path: Path, ask: Ask
) -> None:
    product = make_product(on_hand=5, price="2.50")
    body = json.dumps({"items": [{"sku": product.sku, "quantity": 2}]})
    headers = {
        "Authorization": f"Bearer {sign_in('retry@example.com')['AccessToken']}",
        "Idempotency_Key": uuid.uuid4().hex,
    }
    with serve(task, environment, tmp_path / "log", timeout=3) as function:
        assert ask(function, "GET", "/readyz")["statusCode"] == 200
        with transaction.atomic():
            Product.objects.select_for_update().get(pk=product.pk)  # somebody holds what it needs
            with pytest.raises(SandboxDied):
                ask(function, "POST", "/api/v1/orders", body, **headers)
        answers = [ask(function, "POST", "/api/v1/orders", body, **headers) for _ in range(2)]
        assert function.started == 2, "the first one is gone"

    assert [answer["statusCode"] for answer in answers] == [201, 201]
    assert answers[0]["body"] == answers[1]["body"]
    assert Order.objects.count() == 1
    assert shelf(product) == (5, 2)


# --- operations ------------------------------------------------------------------------------------------------------
@pytest.fixture
def fresh_database(environment: dict[str, str]) -> Iterator[str]:
    """Where a database with two roles is that nobody has migrated; the functions are told of it."""
    with two_roles() as addresses:
        environment.update(addresses)
        yield addresses["DATABASE_URL"]


def test_the_first_deploy_migrates_makes_its_staff_and_looks_around(
    task: Path, environment: dict[str, str], fresh_database: str, tmp_path: Path, ask: Ask
) -> None:
    def do(operation: str, **arguments: Any) -> Any:
        return worker.invoke({"operation": operation, "arguments": arguments})

    assert environment["DATABASE_URL"] == fresh_database
    email = f"{uuid.uuid4().hex}@shop.example"
    with serve(task, environment, tmp_path / "log", timeout=120, name="vibecode-dev-worker") as worker:
        assert ask(worker, "GET", "/readyz")["statusCode"] == 503
        planned = do("migrate", plan=True)["planned"]
        assert {"orders.0001_initial", "vibecode.0001_initial"} <= set(planned)
        with psycopg.connect(environment["DATABASE_URL"]) as other:
            other.execute("SELECT pg_advisory_lock(%s)", [operations.MIGRATION_LOCK])
            refused = do("migrate")
        assert refused["errorType"] == "MigrationsRun"
        assert do("migrate")["applied"] == planned
        assert do("migrate")["applied"] == []
        assert ask(worker, "GET", "/readyz")["statusCode"] == 200
        assert do("audit") == {"agree": True, "differences": []}
        assert do("sweep", dry_run=True) == {"done": {}, "said": []}
        assert do("replay-events", since="2026-01-01", dry_run=True)["said"][-1].startswith("0 facts would")
        assert [do("create-staff-user", email=email)["created"] for _ in range(2)] == [True, False]

    groups = aws.client("cognito-idp").admin_list_groups_for_user(
        UserPoolId=django_settings.COGNITO_USER_POOL_ID, Username=email
    )["Groups"]
    assert [group["GroupName"] for group in groups] == ["admin"]
    with psycopg.connect(environment["DATABASE_URL"]) as session:
        for name, value in TIME_OUTS.items():
            shown = session.execute(f"SHOW {name}").fetchone()
            assert shown is not None
            assert shown[0] in {value, "4min"}, name
    log = (tmp_path / "log").read_text()
    assert '"operation": "migrate"' in log


@pytest.mark.parametrize(
    ("event", "error", "said"),
    [
        ({"operation": "shell"}, "Refused", "there are migrate, create-staff-user"),
        ({"operation": "migrate", "command": "x"}, "Refused", "one of them is false"),
        ({"operation": "migrate", "stage": "dev"}, "Refused", "no stage"),
        ({"operation": "migrate", "arguments": {"fake": True}}, "BadArguments", "Look at fake"),
        ({"operation": "migrate", "arguments": {"plan": "yes"}}, "BadArguments", "Look at plan"),
        ({"operation": "migrate", "arguments": []}, "BadArguments", "must be an object"),
        ({"operation": "create-staff-user"}, "BadArguments", "Look at email"),
        ({"operation": "create-staff-user", "arguments": {"email": "jane"}}, "BadArguments", "an address such as"),
        (
            {"operation": "create-staff-user", "arguments": {"email": "a@b.example", "group": "root"}},
            "BadArguments",
            "one of admin, catalogue, finance, staff",
        ),
        ({"operation": "replay-events"}, "BadArguments", "Say which"),
        ({"operation": "replay-events", "arguments": {"detail_type": "Order Paid"}}, "BadArguments", "detail_type"),
        ({"manage": "migrate"}, "Refused", "is never run"),
        ({"raw_command": "print(1)"}, "Refused", "is never run"),
    ],
)
def test_what_is_no_operation_is_refused_by_name(db: None, event: dict[str, Any], error: str, said: str) -> None:
    with pytest.raises(Exception, match=said) as refused:
        handler(event, Context("vibecode-dev-worker"))

    assert type(refused.value).__name__ == error
