"""What the engineer who deploys may ask about people. Called by vibecode.lambda_entry, by the names in resources.py."""

import contextlib
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from vibecode import aws
from vibecode.operations import BadArguments
from vibecode.rights import GROUPS


def create_staff_user(*, email: str, group: str = "admin") -> dict[str, Any]:
    """Make somebody in Cognito, who is sent a password for the first sign-in, and put them into a group of staff.

    Somebody who is there already is only put into the group. Raises BadArguments.
    """
    try:
        validate_email(email)
    except ValidationError:
        raise BadArguments("email must be an address such as jane@shop.example.") from None
    if group not in GROUPS:
        raise BadArguments(f"group must be one of {', '.join(sorted(GROUPS))}.")
    cognito = aws.client("cognito-idp")
    pool = settings.COGNITO_USER_POOL_ID
    try:
        cognito.admin_create_user(
            UserPoolId=pool,
            Username=email,
            UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
            DesiredDeliveryMediums=["EMAIL"],
        )
        created = True
    except cognito.exceptions.UsernameExistsException:
        created = False
    with contextlib.suppress(cognito.exceptions.GroupExistsException):
        cognito.create_group(UserPoolId=pool, GroupName=group)
    cognito.admin_add_user_to_group(UserPoolId=pool, Username=email, GroupName=group)
    return {"created": created, "group": group}
