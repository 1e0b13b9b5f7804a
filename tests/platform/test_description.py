"""What the API says of itself: /config, /api/schema, /api/docs, /api/problems."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.validation import validate_schema
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from tests.in_process import Caller
from tests.platform.answers import MEMBERS
from vibecode.errors import DomainError
from vibecode.openapi import _kinds
from vibecode.problems import STATUS_OF


def test_config_tells_a_front_end_all_without_a_query(stranger: Caller) -> None:
    body = stranger.get("/config").json()  # the database is not even allowed in this test

    assert body == {
        "region": "us-east-1",
        "cognito": {
            "userPoolId": settings.COGNITO_USER_POOL_ID,
            "clientId": settings.COGNITO_CLIENT_ID,
            "issuer": settings.COGNITO_ISSUER,
            "jwksUrl": settings.COGNITO_JWKS_URL,
            "endpoint": settings.AWS_ENDPOINT_URL,
            "domain": None,
        },
        "apiUrl": f"{settings.PUBLIC_URL}/api/v1",
        "websocketUrl": None,
        "mediaUrl": None,
        "currency": "GBP",
    }


def test_config_is_good_for_a_false_token_too(stranger: Caller) -> None:
    assert stranger.get("/config", Authorization="Bearer x").status_code == 200


# --- the schema ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema as it is served."""
    answer = Caller().get("/api/schema")
    assert answer.status_code == 200
    document: dict[str, Any] = yaml.safe_load(answer.content)
    return document


def routes(patterns: list[URLPattern | URLResolver], before: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every address under /api/v1 as OpenAPI writes it, with its methods."""
    for pattern in patterns:
        path = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        elif path.startswith("api/v1/"):
            view: Any = pattern.callback
            names = getattr(view, "actions", None) or {
                name: "" for name in ("get", "post", "put", "patch", "delete") if hasattr(view.cls, name)
            }
            described = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path).replace("{pk}", "{id}")
            yield f"/{described}", set(names) - {"head"}


def test_the_schema_is_openapi_3_1(schema: dict[str, Any]) -> None:
    assert schema["openapi"] == "3.1.0"
    validate_schema(schema)  # type: ignore[no-untyped-call]  # spectacular ships no types here
    validate(schema, cls=OpenAPIV31SpecValidator)  # follows every $ref


def test_every_address_and_method_is_in_the_schema(schema: dict[str, Any]) -> None:
    ours = dict(routes(get_resolver().url_patterns))
    described = {
        path: set(operations) & {"get", "post", "put", "patch", "delete"}
        for path, operations in schema["paths"].items()
    }

    assert len(ours) >= 12
    assert described == ours


def references(node: Any) -> Iterator[str]:
    """Every $ref below."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for below in node.values():
            yield from references(below)
    elif isinstance(node, list):
        for below in node:
            yield from references(below)


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    for reference in references(schema):
        node: Any = schema
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]


def test_every_operation_tells_of_problems_and_every_post_of_its_key(schema: dict[str, Any]) -> None:
    assert set(schema["components"]["schemas"]["Problem"]["required"]) == MEMBERS
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert "application/problem+json" in operation["responses"]["default"]["content"], path
            names = [parameter["name"] for parameter in operation.get("parameters", [])]
            assert ("Idempotency-Key" in names) == (method == "post"), path
            assert operation["description"], (path, method)


def test_an_order_is_described_as_it_is_answered(schema: dict[str, Any], shopper: Caller, product: Any) -> None:
    product("LAMP")
    answer = shopper.post("/orders", {"items": [{"sku": "LAMP", "quantity": 1}]}).json()
    operation = schema["paths"]["/api/v1/orders"]["post"]

    def shape(reference: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = schema["components"]["schemas"][reference["$ref"].rpartition("/")[2]]
        return found

    asked = shape(operation["requestBody"]["content"]["application/json"]["schema"])
    answered = shape(operation["responses"]["201"]["content"]["application/json"]["schema"])
    assert set(asked["properties"]) == {
        "items", "total", "currency", "userId", "paymentMethod", "shippingAddress", "note",
    }  # fmt: skip
    assert asked["required"] == ["items"]
    assert set(answered["properties"]) == set(answer)


# --- the pages beside it ---------------------------------------------------------------------------------------------
def test_the_docs_come_from_our_own_files(db: None, stranger: Caller) -> None:
    page = stranger.get("/api/docs")
    text = page.content.decode()

    assert page.status_code == 200
    found = re.findall(r'(?:\ssrc=|<link[^>]*\shref=)"([^"]+)"', text)
    assert len(found) >= 3
    assert all(address.startswith("/") for address in found), found
    for address in found:
        with contextlib.closing(stranger.client.get(address)) as file:
            assert file.status_code == 200, address
    assert "http://" not in text.replace(settings.PUBLIC_URL, "")
    assert "https://" not in text


def test_the_problems_page_explains_every_refusal_that_the_code_knows(stranger: Caller) -> None:
    listed = {entry["code"]: entry for entry in stranger.get("/api/problems").json()["results"]}

    for kind in _kinds(DomainError):
        status = next((STATUS_OF[family] for family in kind.__mro__ if family in STATUS_OF), None)
        assert status, f"{kind} belongs to no family"
        assert listed[kind.code]["status"] == status
        assert listed[kind.code]["description"]
    assert all(entry["title"] for entry in listed.values())


def test_no_two_refusals_share_a_code() -> None:
    codes = [kind.code for kind in _kinds(DomainError)]

    assert len(codes) == len(set(codes))


def test_the_front_door_leads_to_the_docs(stranger: Caller) -> None:
    answer = stranger.client.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/api/docs")
