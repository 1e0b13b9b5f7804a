"""The only import of boto3: one cached client a service, with time-outs and few retries. Called by services' edges."""

import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from django.conf import settings

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient


@overload
def client(
    service: Literal["apigatewaymanagementapi"], *, seconds: float = ..., tries: int = ...
) -> "ApiGatewayManagementApiClient": ...
@overload
def client(service: Literal["ce"], *, seconds: float = ..., tries: int = ...) -> Any: ...
@overload
def client(service: Literal["cognito-idp"]) -> "CognitoIdentityProviderClient": ...
@overload
def client(service: Literal["dynamodb"]) -> "DynamoDBClient": ...
@overload
def client(service: Literal["events"], *, seconds: float = ..., tries: int = ...) -> "EventBridgeClient": ...
@overload
def client(service: Literal["s3"]) -> "S3Client": ...
@overload
def client(service: Literal["secretsmanager"]) -> "SecretsManagerClient": ...
@overload
def client(service: Literal["sns"]) -> "SNSClient": ...
@overload
def client(service: Literal["sqs"], *, seconds: float = ..., tries: int = ...) -> "SQSClient": ...
@overload
def client(service: Literal["stepfunctions"], *, seconds: float = ..., tries: int = ...) -> "SFNClient": ...
@functools.cache
def client(service: str, *, seconds: float = 5, tries: int = 3) -> Any:
    """The client of one AWS service, made once a process. Clients are thread-safe; sessions are not.

    It waits ``seconds`` for an answer and tries so often: few of both where somebody else waits for us.
    boto3 is imported here: a request that calls no AWS service does not pay for it.
    """
    import boto3
    from botocore.config import Config

    # The bill is AWS's own, also for who runs the shop on a laptop: its address is the SDK's.
    elsewhere = {"apigatewaymanagementapi": settings.WEBSOCKET_API_URL, "ce": None}
    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]  # the overloads above name the services that we use
        region_name=settings.AWS_REGION,
        endpoint_url=elsewhere.get(service, settings.AWS_ENDPOINT_URL),
        config=Config(
            connect_timeout=min(2, seconds),
            read_timeout=seconds,
            retries={"mode": "standard", "total_max_attempts": tries},
            # What we sign for browsers names the bucket's own regional address, under which the CSP admits it.
            signature_version="s3v4" if service == "s3" else None,
            s3={"addressing_style": "path" if settings.SIMULATED else "virtual"},
        ),
    )


def keys() -> tuple[str, str, str]:
    """Our role's access key, its secret and its session token, from wherever this process gets them."""
    import boto3

    credentials = boto3.session.Session().get_credentials()
    if credentials is None:
        raise RuntimeError("This process has no AWS credentials.")
    frozen = credentials.get_frozen_credentials()
    return str(frozen.access_key), str(frozen.secret_key), frozen.token or ""


@functools.cache
def secret(arn: str) -> Mapping[str, str]:
    """The values of a secret, read once a process; ``secret.cache_clear()`` where it was rotated."""
    values: Mapping[str, str] = json.loads(client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
    return values


def error_code(error: Exception) -> str:
    """The code AWS gave for an error (``NotAuthorizedException``), or "" where it never answered."""
    response = getattr(error, "response", None)
    return str(response["Error"]["Code"]) if isinstance(response, dict) and "Error" in response else ""


def was_refused(error: Exception) -> bool:
    """Whether AWS surely did nothing: it said no (4xx), or was never reached. Any other error may follow the effect."""
    from botocore.exceptions import (
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
        NoCredentialsError,
        ParamValidationError,
    )

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        return 400 <= status < 500
    return isinstance(error, ConnectTimeoutError | EndpointConnectionError | NoCredentialsError | ParamValidationError)


def service_errors() -> tuple[type[Exception], ...]:
    """What a call to AWS may raise: for ``except`` clauses of modules that may not import botocore."""
    from botocore.exceptions import BotoCoreError, ClientError

    return (BotoCoreError, ClientError)
