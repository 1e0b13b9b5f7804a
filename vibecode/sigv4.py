"""Requests that AWS knows to be ours, signed without boto3: a new sandbox must not import it for its first answer.

Called by the database's sign-in and by the doorbell.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import functools
import hashlib
import hmac
import os
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

from vibecode import aws

ALGORITHM = "AWS4-HMAC-SHA256"


class Keys(NamedTuple):
    """What our role signs with; ``session`` is "" for a user's own keys."""

    access: str
    secret: str
    session: str


def keys() -> Keys:
    """Those that Lambda puts into the environment; where it does not (SnapStart), boto3 asks for them.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html
    """
    if access := os.environ.get("AWS_ACCESS_KEY_ID"):
        return Keys(access, os.environ["AWS_SECRET_ACCESS_KEY"], os.environ.get("AWS_SESSION_TOKEN", ""))
    return Keys(*aws.keys())


def presigned(
    host: str, service: str, region: str, fields: Mapping[str, str], *, moment: datetime, seconds: int
) -> str:
    """The query of a GET of ``https://host/`` with these fields, good for ``seconds`` from ``moment`` on."""
    ours, second, scope = keys(), _second(moment), _scope(moment, region, service)
    fields = {
        **fields,
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{ours.access}/{scope}",
        "X-Amz-Date": second,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    } | ({"X-Amz-Security-Token": ours.session} if ours.session else {})
    query = "&".join(f"{quote(name, safe='')}={quote(fields[name], safe='')}" for name in sorted(fields))
    request = f"GET\n/\n{query}\nhost:{host}\n\nhost\n{_digest(b'')}"
    return f"{query}&X-Amz-Signature={_signature(ours.secret, second, scope, request)}"


def signed(
    host: str, service: str, region: str, headers: Mapping[str, str], body: bytes, *, moment: datetime
) -> dict[str, str]:
    """All headers for a POST of ``body`` to ``https://host/``: those given (names in lower case) and the signature."""
    ours, second, scope = keys(), _second(moment), _scope(moment, region, service)
    headers = {
        **headers,
        "host": host,
        "x-amz-date": second,
        **({"x-amz-security-token": ours.session} if ours.session else {}),
    }
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    signature = _signature(ours.secret, second, scope, f"POST\n/\n\n{lines}\n{names}\n{_digest(body)}")
    credential = f"Credential={ours.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": f"{ALGORITHM} {credential}"}


def _second(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def _scope(moment: datetime, region: str, service: str) -> str:
    return f"{moment:%Y%m%d}/{region}/{service}/aws4_request"


def _signature(secret: str, second: str, scope: str, request: str) -> str:
    key = functools.reduce(_hmac, scope.split("/"), f"AWS4{secret}".encode())
    return _hmac(key, f"{ALGORITHM}\n{second}\n{scope}\n{_digest(request.encode())}").hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
