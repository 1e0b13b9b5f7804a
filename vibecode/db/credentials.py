"""What a connection signs in with: a token by IAM's rights, a secret that rotates, or its address's own password.

Called by base.py, before each connection.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime

from vibecode import aws, sigv4

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

    It is a presigned address without its scheme.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    fields = {"Action": "connect", "DBUser": user}
    query = sigv4.presigned(
        f"{host}:{port}", "rds-db", os.environ["AWS_REGION"], fields, moment=moment, seconds=TOKEN_SECONDS
    )
    return f"{host}:{port}/?{query}"
