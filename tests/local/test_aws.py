"""The local AWS: what people and pictures it was given is there again after a kill, each person under the same sub."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import jwt
import pytest

from tests.local.conftest import clean_environment, wait_until
from vibecode.local import aws
from vibecode.local.names import DEMO_PASSWORD
from vibecode.local.ports import answers, free_port

PASSWORD = "Sound-pass-7"


class LocalAWS:
    """A running local AWS and its clients."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = free_port()
        self.environment = aws.environment(f"http://127.0.0.1:{self.port}")
        self.pool = self.environment["COGNITO_USER_POOL_ID"]
        self.client = self.environment["COGNITO_CLIENT_ID"]
        self.bucket = self.environment["MEDIA_BUCKET"]
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
        where = {"endpoint_url": self.environment["AWS_ENDPOINT_URL"], **keys}
        self.cognito: Any = boto3.client("cognito-idp", **where)  # type: ignore[call-overload]  # the same options for each service
        self.s3: Any = boto3.client("s3", **where)  # type: ignore[call-overload]  # the same options for each service
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(aws.command(self.port, self.state), env=clean_environment())
        wait_until(lambda: answers(self.port, aws.JWKS_PATH))

    def kill_and_restart(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()

    def sign_in(self, email: str, password: str = PASSWORD) -> dict[str, str]:
        parameters = {"USERNAME": email, "PASSWORD": password}
        answer = self.cognito.initiate_auth(
            ClientId=self.client, AuthFlow="USER_PASSWORD_AUTH", AuthParameters=parameters
        )
        tokens: dict[str, str] = answer["AuthenticationResult"]
        return tokens

    def claims(self, token: str, audience: str | None = None) -> dict[str, Any]:
        """Verify a token as the shop does: by the published key."""
        keys = httpx.get(self.environment["COGNITO_JWKS_URL"]).json()["keys"]
        key = jwt.PyJWK(next(key for key in keys if key["kid"] == jwt.get_unverified_header(token)["kid"]))
        issuer = self.environment["COGNITO_ISSUER"]
        return dict(jwt.decode(token, key, algorithms=["RS256"], audience=audience, issuer=issuer))

    def attributes(self, access_token: str) -> dict[str, str]:
        answer = self.cognito.get_user(AccessToken=access_token)
        return {pair["Name"]: pair["Value"] for pair in answer["UserAttributes"]}

    def sign_up(self, email: str, **attributes: str) -> str:
        pairs = [{"Name": name, "Value": value} for name, value in attributes.items()]
        answer = self.cognito.sign_up(ClientId=self.client, Username=email, Password=PASSWORD, UserAttributes=pairs)
        self.cognito.confirm_sign_up(ClientId=self.client, Username=email, ConfirmationCode="123456")
        return str(answer["UserSub"])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAWS]:
    started = LocalAWS(tmp_path_factory.mktemp("aws") / "state")
    yield started
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(timeout=10) == 0


def test_demo_users_sign_in_with_their_groups(cloud: LocalAWS) -> None:
    claims = cloud.claims(cloud.sign_in("staff@example.com", DEMO_PASSWORD)["AccessToken"])

    assert claims["token_use"] == "access"
    assert claims["client_id"] == cloud.client
    assert claims["cognito:groups"] == ["staff"]
    shopper = cloud.claims(cloud.sign_in("shopper@example.com", DEMO_PASSWORD)["AccessToken"])
    assert "cognito:groups" not in shopper


def test_a_person_keeps_sub_password_group_and_tokens_over_a_kill(cloud: LocalAWS) -> None:
    sub = cloud.sign_up("ada@example.com", name="Ada")
    cloud.cognito.admin_add_user_to_group(UserPoolId=cloud.pool, Username="ada@example.com", GroupName="staff")
    before = cloud.sign_in("ada@example.com")

    cloud.kill_and_restart()

    after = cloud.sign_in("ada@example.com")
    for tokens in (before, after):
        assert cloud.claims(tokens["AccessToken"])["sub"] == sub
        assert cloud.claims(tokens["AccessToken"])["cognito:groups"] == ["staff"]
        assert cloud.claims(tokens["IdToken"], audience=cloud.client)["email_verified"] is True
        assert cloud.attributes(tokens["AccessToken"])["sub"] == sub
    assert cloud.attributes(after["AccessToken"])["name"] == "Ada"
    again = cloud.cognito.initiate_auth(
        ClientId=cloud.client,
        AuthFlow="REFRESH_TOKEN_AUTH",
        AuthParameters={"REFRESH_TOKEN": before["RefreshToken"]},
    )
    assert cloud.claims(again["AuthenticationResult"]["AccessToken"])["sub"] == sub


def test_disabled_deleted_and_signed_out_last_over_a_kill(cloud: LocalAWS) -> None:
    for name in ("off", "gone", "out"):
        cloud.sign_up(f"{name}@example.com")
    tokens = cloud.sign_in("out@example.com")
    cloud.cognito.admin_disable_user(UserPoolId=cloud.pool, Username="off@example.com")
    cloud.cognito.admin_delete_user(UserPoolId=cloud.pool, Username="gone@example.com")
    cloud.cognito.global_sign_out(AccessToken=tokens["AccessToken"])

    cloud.kill_and_restart()

    errors = cloud.cognito.exceptions
    with pytest.raises(errors.NotAuthorizedException):
        cloud.sign_in("off@example.com")
    with pytest.raises(errors.UserNotFoundException):
        cloud.sign_in("gone@example.com")
    with pytest.raises(errors.NotAuthorizedException):
        cloud.attributes(tokens["AccessToken"])
    with pytest.raises(errors.NotAuthorizedException):
        cloud.cognito.initiate_auth(
            ClientId=cloud.client,
            AuthFlow="REFRESH_TOKEN_AUTH",
            AuthParameters={"REFRESH_TOKEN": tokens["RefreshToken"]},
        )


def test_nobody_verifies_an_address_by_saying_so(cloud: LocalAWS) -> None:
    cloud.cognito.sign_up(
        ClientId=cloud.client,
        Username="mallory@example.com",
        Password=PASSWORD,
        UserAttributes=[{"Name": "email_verified", "Value": "true"}],
    )
    cloud.cognito.admin_confirm_sign_up(UserPoolId=cloud.pool, Username="mallory@example.com")

    token = cloud.sign_in("mallory@example.com")["AccessToken"]

    assert cloud.attributes(token)["email_verified"] == "false"


def test_a_changed_address_is_the_same_person_and_unverified(cloud: LocalAWS) -> None:
    sub = cloud.sign_up("old@example.com")
    token = cloud.sign_in("old@example.com")["AccessToken"]

    cloud.cognito.update_user_attributes(
        AccessToken=token, UserAttributes=[{"Name": "email", "Value": "changed@example.com"}]
    )

    now = cloud.attributes(token)
    assert (now["sub"], now["email"], now["email_verified"]) == (sub, "changed@example.com", "false")
    assert cloud.claims(cloud.sign_in("Changed@Example.com")["AccessToken"])["sub"] == sub


def test_a_weak_password_is_refused(cloud: LocalAWS) -> None:
    with pytest.raises(cloud.cognito.exceptions.InvalidPasswordException):
        cloud.cognito.sign_up(ClientId=cloud.client, Username="weak@example.com", Password="alllowercase1!")


def test_pictures_come_back_byte_for_byte_with_type_and_metadata(cloud: LocalAWS) -> None:
    body = bytes(range(256)) * 64
    cloud.s3.put_object(
        Bucket=cloud.bucket,
        Key="products/a b/ü.png",
        Body=body,
        ContentType="image/png",
        CacheControl="max-age=60",
        Metadata={"width": "8"},
    )
    form = cloud.s3.generate_presigned_post(cloud.bucket, "by-form.jpg", Fields={"Content-Type": "image/jpeg"})
    assert httpx.post(form["url"], data=form["fields"], files={"file": body}).status_code == 204
    cloud.s3.copy_object(Bucket=cloud.bucket, Key="copy.jpg", CopySource=f"{cloud.bucket}/by-form.jpg")
    cloud.s3.put_object(Bucket=cloud.bucket, Key="deleted", Body=b"x")
    cloud.s3.delete_object(Bucket=cloud.bucket, Key="deleted")

    cloud.kill_and_restart()

    stored = cloud.s3.get_object(Bucket=cloud.bucket, Key="products/a b/ü.png")
    assert stored["Body"].read() == body
    assert (stored["ContentType"], stored["CacheControl"]) == ("image/png", "max-age=60")
    assert stored["Metadata"] == {"width": "8"}
    copied = cloud.s3.get_object(Bucket=cloud.bucket, Key="copy.jpg")
    assert (copied["ContentType"], copied["Body"].read()) == ("image/jpeg", body)
    names = [entry["Key"] for entry in cloud.s3.list_objects_v2(Bucket=cloud.bucket)["Contents"]]
    assert names == ["by-form.jpg", "copy.jpg", "products/a b/ü.png"]


def test_what_it_keeps_is_for_its_owner_only(cloud: LocalAWS) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in cloud.state.iterdir()}

    assert modes["state.sqlite3"] == 0o600
    assert set(modes.values()) == {0o600}


def test_a_kill_right_after_many_sign_ups_loses_none(cloud: LocalAWS) -> None:
    subs = {f"many{number}@example.com": cloud.sign_up(f"many{number}@example.com") for number in range(5)}

    cloud.kill_and_restart()

    for email, sub in subs.items():
        assert cloud.claims(cloud.sign_in(email)["AccessToken"])["sub"] == sub
