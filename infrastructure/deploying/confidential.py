"""What only secrets hold: who made a part of it carries it to where the functions read it. Nothing of it is printed."""

import json

from infrastructure.deploying.account import Account, Refused
from infrastructure.hand_over import Document

BY_HAND = ("STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET")  # Stripe makes them, and shows them to people alone

WEBHOOK = "/api/v1/payments/stripe/webhook"


def complete_settings(account: Account, document: Document) -> str:
    """Take the desk's client secret from Cognito to the stage's secret. Raises Refused while Stripe's are missing."""
    environment = document["environment"]
    manager, arn = account.client("secretsmanager"), environment["SECRETS_ARN"]
    settings = json.loads(manager.get_secret_value(SecretId=arn)["SecretString"])
    client = account.client("cognito-idp").describe_user_pool_client(
        UserPoolId=environment["COGNITO_USER_POOL_ID"], ClientId=environment["OIDC_CLIENT_ID"]
    )["UserPoolClient"]
    said = "as they were"
    if settings.get("OIDC_CLIENT_SECRET") != client["ClientSecret"]:
        settings["OIDC_CLIENT_SECRET"] = client["ClientSecret"]
        manager.put_secret_value(SecretId=arn, SecretString=json.dumps(settings))
        said = "the desk's client secret is new"
    missing = [name for name in BY_HAND if not settings.get(name)]
    if missing and environment.get("PAYMENT_PROVIDER", "stripe") == "stripe":
        raise Refused(
            f"The secret {arn} lacks {' and '.join(missing)}: put them there beside what it has, then run this again "
            f"(docs/deploy.md). Stripe's webhook goes to {environment['PUBLIC_URL']}{WEBHOOK}."
        )
    return said


def origin_secret(account: Account) -> str:
    """What CloudFront adds to each request, or will: the functions know it already."""
    known = account.client("secretsmanager").get_secret_value(SecretId=f"{account.stage.prefix}/origin")
    return str(known["SecretString"])
