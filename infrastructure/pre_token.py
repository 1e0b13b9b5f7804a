"""Cognito asks this before it makes a token: who works here and has no second factor gets it without their groups.

A function of its own, inlined into the pool's stack (identity.py): at most 4 KB, and nothing of ours is imported.
"""

from typing import Any

STAFF = {"support", "warehouse", "catalogue", "finance", "staff", "admin"}


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 -- Lambda's signature
    """Give the event back with the groups that the token may name; a customer's as it came.

    Whoever has a second factor is said to in the ID token, where Cognito itself says nothing of it. An error lets
    nobody in. https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-pre-token-generation.html
    """
    configuration = event["request"].get("groupConfiguration") or {}
    groups = configuration.get("groupsToOverride") or []
    if not STAFF.intersection(groups):
        return event
    if _has_second_factor(event["userPoolId"], event["userName"]):
        said = {
            "groupOverrideDetails": configuration,  # without it Cognito takes all groups out
            "idTokenGeneration": {"claimsToAddOrOverride": {"custom:mfa": "true"}},
        }
    else:
        left = [group for group in groups if group not in STAFF]
        said = {"groupOverrideDetails": {"groupsToOverride": left, "iamRolesToOverride": []}}
    event["response"] = {"claimsAndScopeOverrideDetails": said}
    return event


def _has_second_factor(pool: str, name: str) -> bool:
    """Whether somebody has MFA switched on, so that Cognito has asked for it. The event says nothing of it."""
    import boto3  # slow to import: customers do not wait for it
    from botocore.config import Config

    # Cognito waits five seconds for the whole of us.
    patience = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 2})
    found = boto3.client("cognito-idp", config=patience).admin_get_user(UserPoolId=pool, Username=name)
    return bool(found.get("UserMFASettingList"))
