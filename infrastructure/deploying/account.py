"""The account that a stage is deployed to, as whoever deploys sees it: clients, who we are, names, the hand-over."""

import getpass
import json
import socket
from collections.abc import Callable
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infrastructure.config import REGION, Stage
from infrastructure.hand_over import Document, Incomplete, check
from vibecode.resources import FUNCTION_TIMEOUT, PROJECT, Resources

type Clients = Callable[..., Any]


class Refused(Exception):
    """The deployment cannot go on; the text says why, and what helps."""


class WentWrong(Exception):
    """What was deployed does not do what it should; the text says what it does."""


class Account:
    """The account of one stage. ``make`` makes clients as boto3.client does; AWS_ENDPOINT_URL leads to another AWS."""

    def __init__(self, stage: Stage, make: Clients = boto3.client) -> None:
        self.stage = stage
        self._make = make
        self._made: dict[tuple[str, str], Any] = {}

    def of(self, stage: Stage) -> "Account":
        """The same account, as another stage sees it."""
        return Account(stage, self._make)

    def client(self, service: str, region: str = REGION) -> Any:
        """boto3's client of a service, which asks again where AWS is away for a moment."""
        if (service, region) not in self._made:
            config = Config(read_timeout=60, retries={"total_max_attempts": 6, "mode": "standard"})
            self._made[service, region] = self._make(service, region_name=region, config=config)
        return self._made[service, region]

    @cached_property
    def invoker(self) -> Any:
        """Lambda's client to invoke with: an answer is waited for once, as long as a function may take."""
        config = Config(read_timeout=FUNCTION_TIMEOUT + 30, retries={"total_max_attempts": 1})
        return self._make("lambda", region_name=REGION, config=config)

    @cached_property
    def identity(self) -> tuple[str, str]:
        """The account's number, and the ARN that we are signed in as. Raises Refused."""
        try:
            who = self.client("sts").get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            raise Refused(
                f"AWS does not know who we are: {error}. Sign in first (aws sso login, aws configure)."
            ) from None
        return str(who["Account"]), str(who["Arn"])

    @property
    def number(self) -> str:
        """Of the account: twelve digits."""
        return self.identity[0]

    @property
    def resources(self) -> Resources:
        """Names, ARNs and addresses of the stage."""
        return Resources(stage=self.stage.name, region=REGION, account=self.number)

    def bucket(self, which: str) -> str:
        """The bucket of packages, or of static files."""
        return f"{self.stage.prefix}-{which}-{self.number}"

    @property
    def has_packages(self) -> bool:
        """Whether the bucket of packages is there: without it nothing has been deployed here."""
        try:
            self.client("s3").head_bucket(Bucket=self.bucket("packages"))
        except ClientError as error:
            if code_of(error) in {"404", "NoSuchBucket", "NotFound"}:
                return False
            raise
        return True

    @property
    def hand_over_parameter(self) -> str:
        """The name of the SSM parameter by which the stacks hand over to Zappa."""
        return f"/{PROJECT}/{self.stage.name}/hand-over"

    def hand_over(self) -> Document:
        """What the stacks hand over. Raises Refused where it is not there, or not whole."""
        try:
            told = self.client("ssm").get_parameter(Name=self.hand_over_parameter, WithDecryption=True)
            return check(json.loads(told["Parameter"]["Value"]))
        except ClientError as error:
            if code_of(error) != "ParameterNotFound":
                raise
            raise Refused(f"The stacks hand nothing over: {self.hand_over_parameter} is missing.") from None
        except (ValueError, Incomplete) as error:
            raise Refused(f"{self.hand_over_parameter}: {error}") from None


def code_of(error: ClientError) -> str:
    """What AWS calls an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def whoever() -> str:
    """Who runs this, for those who find their lock."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user may have no name
        return socket.gethostname()
