"""What a new sandbox does before the first byte of GET /products: what it imports, whom it calls, what it makes."""

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import Caller, make_product, sign_in
from tests.infrastructure.test_sandbox import request
from vibecode.local.sandboxes import interpret

ALLOWED = Path(__file__).with_name("products_imports.txt")
OURS = ("vibecode", "orders", "catalog", "accounts")
# Runs one event in a fresh interpreter with Lambda's path; tells what was imported and by whom, and what was done.
PROBE = """
import gc, importlib, json, sys
calls, importers = [], {}
def hear(event, args):
    if event == "socket.connect":
        calls.append(str(args[1]))
sys.addaudithook(hear)
real = __import__
def noted(name, globals=None, locals=None, fromlist=(), level=0):
    before = set(sys.modules)
    try:
        return real(name, globals, locals, fromlist, level)
    finally:
        for module in set(sys.modules) - before:
            importers.setdefault(module, (globals or {}).get("__name__", "?"))
import builtins
builtins.__import__ = noted
class Context:
    aws_request_id = "probe"
    def get_remaining_time_in_millis(self):
        return 29000
handler = importlib.import_module("vibecode.lambda_entry").handler
at_start = sorted(sys.modules)
answer = handler(json.load(sys.stdin), Context())
made = getattr(sys.modules.get("botocore.client"), "BaseClient", ())
clients = [type(each).__name__ for each in gc.get_objects() if issubclass(type(each), made)]
told = {"status": answer["statusCode"], "modules": sorted(sys.modules), "importers": importers, "calls": calls,
        "clients": clients, "at_start": at_start}
print("PROBE" + json.dumps(told))
"""


@pytest.fixture
def first_request(task: Path, environment: dict[str, str], aws_events: dict[str, Any]) -> dict[str, Any]:
    """What the probe told of GET /api/v1/products."""
    for _ in range(3):
        make_product(on_hand=3, price="2.50")
    event = request(aws_events["apigateway aws-proxy"], "GET", "/api/v1/products") | {
        "multiValueQueryStringParameters": {"pageSize": ["2"]},
    }  # there is a next page
    return probed(task, environment, event, 200)


def probed(task: Path, told_settings: dict[str, str], event: dict[str, Any], status: int) -> dict[str, Any]:
    """What a new interpreter with Lambda's path tells of one request."""
    keys = {"AWS_ACCESS_KEY_ID": "role", "AWS_SECRET_ACCESS_KEY": "role", "AWS_SESSION_TOKEN": "role"}
    done = interpret(PROBE, task=task, environment=told_settings | keys, event=event)
    assert done.returncode == 0, done.stderr[:6000]
    told: dict[str, Any] = json.loads(done.stdout.rpartition("PROBE")[2])
    assert told["status"] == status, done.stdout.rpartition("PROBE")[0]
    return told


def shortened(module: str) -> str:
    """As the list names it: ours in full, Django's apps and what is imported in part by theirs, others as a whole."""
    parts = module.split(".")
    if parts[0] in OURS:
        return module
    depth = (
        3 if module.startswith("django.contrib.") else 2 if parts[0] in {"django", "drf_spectacular", "unfold"} else 1
    )
    return ".".join(parts[:depth])


def test_nothing_is_imported_that_does_not_stand_on_the_list(first_request: dict[str, Any]) -> None:
    """To allow one, add its line; to see what it costs, `make bench-cold`."""
    allowed = set(ALLOWED.read_text().split())
    found = {
        shortened(module): first_request["importers"].get(module, "?")
        for module in reversed(first_request["modules"])
        if module.split(".")[0] not in sys.stdlib_module_names and not re.match(r"__main__|_|cython_runtime", module)
    }

    strangers = [f"{module}, imported by {found[module]}" for module in sorted(found.keys() - allowed)]
    assert strangers == []
    assert sorted(allowed - found.keys()) == [], "these are imported no more: take them off the list"


def test_nobody_is_called_but_the_database_and_no_client_of_aws_is_made(first_request: dict[str, Any]) -> None:
    assert first_request["calls"] == []  # libpq's own socket is none of Python's
    assert first_request["clients"] == []


def test_what_is_heavy_stays_out(first_request: dict[str, Any]) -> None:
    heavy = {
        "boto3", "botocore", "requests", "yaml", "drf_spectacular.openapi",
        "jwt", "cryptography", "stripe", "anymail", "PIL", "redis", "drf_spectacular.views", "unfold.admin",
        "drf_spectacular.generators", "django.db.migrations.executor", "catalog.admin", "orders.admin",
        "orders.letters",
    }  # fmt: skip

    assert heavy & set(first_request["modules"]) == set()


def test_views_and_zappa_are_loaded_while_aws_counts_it_as_the_start(first_request: dict[str, Any]) -> None:
    assert {"zappa.handler", "catalog.views", "orders.views", "vibecode.urls"} <= set(first_request["at_start"])


def test_an_order_is_placed_without_boto3(
    task: Path,
    environment: dict[str, str],
    aws_events: dict[str, Any],
) -> None:
    sku = make_product(on_hand=3, price="2.50").sku
    token = sign_in("cold@example.com")["AccessToken"]
    Caller(token).get("/me")  # whom nobody knows yet is asked for at Cognito, by boto3
    order = json.dumps({"items": [{"sku": sku, "quantity": 1}]})
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": uuid.uuid4().hex}

    told = probed(
        task, environment, request(aws_events["apigateway aws-proxy"], "POST", "/api/v1/orders", order, **headers), 201
    )

    assert {"boto3", "botocore", "requests"} & set(told["modules"]) == set()
    assert len(told["calls"]) == 2  # Cognito for its keys, SQS
