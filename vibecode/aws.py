"""The only import of boto3: one cached client a service, with time-outs and few retries. Called by services' edges."""

import functools
from typing import TYPE_CHECKING, Any, Literal, overload

from django.conf import settings

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_s3 import S3Client


@overload
def client(service: Literal["cognito-idp"]) -> "CognitoIdentityProviderClient": ...
@overload
def client(service: Literal["s3"]) -> "S3Client": ...
@functools.cache
def client(service: str) -> Any:
    """The client of one AWS service, made once a process. Clients are thread-safe; sessions are not.

    boto3 is imported here: a request that calls no AWS service does not pay for it.
    """
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]  # the overloads above name the services that we use
        region_name=settings.AWS_REGION,
        endpoint_url=settings.AWS_ENDPOINT_URL,
        config=Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3}),
    )


def error_code(error: Exception) -> str:
    """The code AWS gave for an error (``NotAuthorizedException``), or "" where it never answered."""
    response = getattr(error, "response", None)
    return str(response["Error"]["Code"]) if isinstance(response, dict) and "Error" in response else ""


def service_errors() -> tuple[type[Exception], ...]:
    """What a call to AWS may raise: for ``except`` clauses of modules that may not import botocore."""
    from botocore.exceptions import BotoCoreError, ClientError

    return (BotoCoreError, ClientError)
