"""The pages by which a release is judged, asked through CloudFront, or of a function as API Gateway asks it."""

import json
import time
import uuid
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from infrastructure.deploying.account import WentWrong
from infrastructure.deploying.confidential import origin_secret
from infrastructure.deploying.functions import WEB, Functions
from infrastructure.deploying.operations import invoked
from infrastructure.deploying.waiting import Turn

HEALTH, OK = "/healthz", 200
PAGES = (HEALTH, "/readyz", "/api/v1/products")
HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a page answered; or what was ``wrong``, so that there is no answer."""

    status: int = 0
    text: str = ""
    release: str = ""
    wrong: str = ""


def try_out(functions: Functions, release: str, package: str, seconds: float) -> str:
    """Ask the release that comes, beside the one that customers ask, as API Gateway would. Raises WentWrong."""
    account = functions.account
    public = str(account.hand_over()["environment"]["PUBLIC_URL"])
    secret = origin_secret(account)
    with functions.beside(WEB, package) as name:

        def ask(page: str) -> Said:
            event = proxy_event(page, public, secret, account.stage.name)
            answer, wrong, _ = invoked(account, name, json.dumps(event))
            return Said(wrong=wrong) if wrong else said_by(answer)

        _until_fine(ask, release, seconds, name, functions.turn)
    return "fine"


def smoke_test(functions: Functions, release: str, seconds: float) -> str:
    """Ask through the public address until this release answers well. Raises WentWrong with what it said last."""
    address = str(functions.account.hand_over()["environment"]["PUBLIC_URL"])
    with httpx.Client(base_url=address, timeout=30) as client:

        def ask(page: str) -> Said:
            try:
                answer = client.get(page)
            except httpx.HTTPError as error:
                return Said(wrong=f"{type(error).__name__} {error}")
            return Said(status=answer.status_code, text=answer.text, release=answer.headers.get("X-Release", ""))

        _until_fine(ask, release, seconds, address, functions.turn)
    return address


def _until_fine(ask: Callable[[str], Said], release: str, seconds: float, where: str, turn: Turn) -> None:
    deadline = time.monotonic() + seconds
    while wrong := next(complaints(ask, release), ""):
        if time.monotonic() > deadline:
            raise WentWrong(f"{where}{wrong}")
        turn.wait()


def complaints(ask: Callable[[str], Said], release: str) -> Iterator[str]:
    """What is not as it should be, page by page."""
    for page in PAGES:
        said = ask(page)
        if said.wrong:
            yield f"{page}: {said.wrong}"
        elif said.status != OK:
            yield f"{page} answers {said.status}: {said.text[:200]}"
        elif page == HEALTH and said.release != release:
            yield f"{page} says release {said.release}, not {release}"


def proxy_event(page: str, public_url: str, secret: str, stage: str) -> dict[str, Any]:
    """The event of a request that came through CloudFront, as API Gateway's Lambda proxy integration makes it.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    headers = {
        "Host": urlsplit(public_url).netloc,
        "User-Agent": "vibecode-deploying",
        "X-Forwarded-For": f"{HERE}, {HERE}",  # whom CloudFront heard, and whom API Gateway
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
        "X-Origin-Secret": secret,
    }
    return {
        "resource": "/{proxy+}",
        "path": page,
        "httpMethod": "GET",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": page.removeprefix("/")},
        "stageVariables": None,
        "requestContext": {
            "apiId": "beside",
            "httpMethod": "GET",
            "identity": {"sourceIp": HERE, "userAgent": headers["User-Agent"]},
            "path": f"/{stage}{page}",
            "protocol": "HTTP/1.1",
            "requestId": str(uuid.uuid4()),
            "resourcePath": "/{proxy+}",
            "stage": stage,
        },
        "body": None,
        "isBase64Encoded": False,
    }


def said_by(answer: Any) -> Said:
    """What a function answers to such an event."""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return Said(wrong=f"no answer to a request: {str(answer)[:200]}")
    several = {name: values[-1] for name, values in (answer.get("multiValueHeaders") or {}).items()}
    headers = {name.lower(): str(value) for name, value in {**(answer.get("headers") or {}), **several}.items()}
    body = str(answer.get("body") or "")
    text = b64decode(body).decode(errors="replace") if answer.get("isBase64Encoded") else body
    return Said(status=int(answer["statusCode"]), text=text, release=headers.get("x-release", ""))
