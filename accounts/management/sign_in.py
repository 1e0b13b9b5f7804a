"""Signing in with a password, for commands that act as a customer. Called by `token` and `replay_orders`."""

import time
from dataclasses import dataclass

from django.conf import settings
from django.core.management.base import CommandError

from vibecode import aws

# The password of the demo logins; the local Cognito alone knows people by it.
DEMO_PASSWORD = "Vibecode-demo-1!"  # noqa: S105 -- printed on the panel of make run


class SignInRefused(Exception):
    """Cognito does not let them in, or does not answer; the sentence says which."""


@dataclass(frozen=True, slots=True)
class Session:
    """An access token, and until when it serves (by the monotonic clock)."""

    access_token: str
    expires_at: float

    @property
    def is_fresh(self) -> bool:
        """Whether it serves a minute longer."""
        return time.monotonic() < self.expires_at - 60


def sign_in(*, client_id: str, email: str, password: str = DEMO_PASSWORD) -> Session:
    """An access token by e-mail and password. Raises SignInRefused."""
    try:
        answer = aws.client("cognito-idp").initiate_auth(
            ClientId=client_id,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": email, "PASSWORD": password},
        )
    except aws.service_errors() as error:
        code = aws.error_code(error)
        if code in {"NotAuthorizedException", "UserNotFoundException"}:
            raise SignInRefused(f"Cognito knows no {email} with this password.") from None
        raise SignInRefused(f"Cognito does not sign {email} in: {code or error}.") from None
    if "AuthenticationResult" not in answer:
        raise SignInRefused(f"Cognito asks {email} for more than a password: {answer.get('ChallengeName')}.")
    result = answer["AuthenticationResult"]
    return Session(result["AccessToken"], time.monotonic() + result["ExpiresIn"])


def sign_in_or_up(*, pool_id: str, client_id: str, email: str) -> Session:
    """The same with the demo password; who is not in the pool yet is put there first. Raises SignInRefused.

    The demo password is published, so this is for the local Cognito alone: elsewhere it asks nobody and raises
    CommandError.
    """
    if not (settings.LOCAL and settings.AWS_ENDPOINT_URL):
        raise CommandError(
            "Customers are signed up with the published demo password, so only in the local Cognito (STAGE=local with "
            f"AWS_ENDPOINT_URL); nobody was put into {pool_id}."
        )
    try:
        return sign_in(client_id=client_id, email=email)
    except SignInRefused:
        _put_into_pool(pool_id, email)
    return sign_in(client_id=client_id, email=email)


def _put_into_pool(pool_id: str, email: str) -> None:
    cognito = aws.client("cognito-idp")
    try:
        cognito.admin_create_user(
            UserPoolId=pool_id,
            Username=email,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
        )
    except aws.service_errors() as error:
        if aws.error_code(error) != "UsernameExistsException":  # made by a run that ended before the password was set
            raise SignInRefused(f"Cognito does not take {email}: {aws.error_code(error) or error}.") from None
    try:
        cognito.admin_set_user_password(UserPoolId=pool_id, Username=email, Password=DEMO_PASSWORD, Permanent=True)
    except aws.service_errors() as error:
        raise SignInRefused(f"Cognito sets no password for {email}: {aws.error_code(error) or error}.") from None
