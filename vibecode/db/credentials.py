"""What a connection signs in with: a token by IAM's rights, a secret that rotates, or its address's own password.

Called by base.py, before each connection.
"""

import functools
import hashlib
import hmac
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from vibecode import aws

IAM = "iam"
TOKEN_SECONDS = 900  # AWS takes no token that is older


def sign_in(source: str, *, host: str, port: int, user: str, anew: bool) -> Mapping[str, str]:
    """User and password for a connection; nothing where its address has both.

    ``source`` is "" (the address), "iam", or the ARN of a secret with ``username`` and ``password``. A secret is read
    once a process, and again where ``anew`` says that it was refused: it has been rotated.
    """
    if not source:
        return {}
    if source == IAM:
        return {"user": user, "password": iam_token(host, port, user, moment=datetime.now(UTC))}
    if anew:
        aws.secret.cache_clear()
    secret = aws.secret(source)
    return {"user": secret["username"], "password": secret["password"]}


def iam_token(host: str, port: int, user: str, *, moment: datetime) -> str:
    """A password that is good for 15 minutes, for a role of ours that may ``rds-db:connect`` as ``user``.

    It is a presigned address without its scheme. Made here, or a cold start would import boto3 for it.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.Connecting.html and
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    key, secret, session = _aws_keys()
    region = os.environ["AWS_REGION"]
    day, second = moment.strftime("%Y%m%d"), moment.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{day}/{region}/rds-db/aws4_request"
    fields = {
        "Action": "connect",
        "DBUser": user,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{key}/{scope}",
        "X-Amz-Date": second,
        "X-Amz-Expires": str(TOKEN_SECONDS),
        "X-Amz-SignedHeaders": "host",
    } | ({"X-Amz-Security-Token": session} if session else {})
    query = "&".join(f"{quote(name, safe='')}={quote(fields[name], safe='')}" for name in sorted(fields))
    request = f"GET\n/\n{query}\nhost:{host}:{port}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    to_sign = f"AWS4-HMAC-SHA256\n{second}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing_key = functools.reduce(_hmac, scope.split("/"), f"AWS4{secret}".encode())
    return f"{host}:{port}/?{query}&X-Amz-Signature={_hmac(signing_key, to_sign).hex()}"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _aws_keys() -> tuple[str, str, str]:
    """Those of our role, which Lambda puts into the environment; where it does not (SnapStart), boto3 asks for them.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html
    """
    if key := os.environ.get("AWS_ACCESS_KEY_ID"):
        return key, os.environ["AWS_SECRET_ACCESS_KEY"], os.environ.get("AWS_SESSION_TOKEN", "")
    return aws.keys()
