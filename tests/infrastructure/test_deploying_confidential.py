"""What the secret of a stage is completed with, and what it must have. Exact calls, by stubbed_aws.py."""

import json
from typing import Any

import pytest

from infrastructure.config import REGION
from infrastructure.deploying.account import Refused
from infrastructure.deploying.confidential import complete_settings
from tests.infrastructure.stubbed_aws import NUMBER, Aws


def settings_of(aws: Aws, **known: str) -> tuple[dict[str, Any], str]:
    """A stage's secret with what it holds, and the document that names it; the pool's client has another secret."""
    arn = f"arn:aws:secretsmanager:{REGION}:{NUMBER}:secret:vibecode-dev/settings-AbCdEf"
    aws("secretsmanager").add_response("get_secret_value", {"SecretString": json.dumps(known)}, {"SecretId": arn})
    aws("cognito-idp").add_response(
        "describe_user_pool_client",
        {"UserPoolClient": {"ClientSecret": "made and kept by Cognito"}},
        {"UserPoolId": "pool_1", "ClientId": "desk"},
    )
    told = {"SECRETS_ARN": arn, "COGNITO_USER_POOL_ID": "pool_1", "OIDC_CLIENT_ID": "desk"}
    return {"environment": told | {"PUBLIC_URL": "https://shop.example"}}, arn


def test_the_desks_client_secret_goes_from_cognito_to_the_stages_own(aws: Aws) -> None:
    known = {"SECRET_KEY": "k", "STRIPE_API_KEY": "sk", "STRIPE_WEBHOOK_SECRET": "wh"}
    document, arn = settings_of(aws, **known)
    whole = json.dumps({**known, "OIDC_CLIENT_SECRET": "made and kept by Cognito"})
    aws("secretsmanager").add_response("put_secret_value", {}, {"SecretId": arn, "SecretString": whole})

    assert "made and kept by Cognito" not in complete_settings(aws.account, document)


def test_without_stripes_keys_nothing_goes_on(aws: Aws) -> None:
    document, _ = settings_of(aws, OIDC_CLIENT_SECRET="made and kept by Cognito", STRIPE_API_KEY="sk")

    with pytest.raises(Refused, match=r"lacks STRIPE_WEBHOOK_SECRET: .*https://shop.example/api/v1/payments"):
        complete_settings(aws.account, document)
