"""AWS by botocore's Stubber: it holds each call and each answer against AWS's own descriptions. Read by conftest.py."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.stub import ANY, Stubber

from infrastructure.config import REGION, STAGES
from infrastructure.deploying.account import Account
from infrastructure.deploying.assembly import Template

NUMBER = "123456789012"
NAME = "vibecode-dev-network"
ARN = f"arn:aws:cloudformation:{REGION}:{NUMBER}:changeSet/deploy-1/1"
TAGS = {"app": "vibecode", "stage": "dev", "cost-centre": "engineering", "data-class": "internal"}
BODY = '{"Resources":{"Vpc":{"Type":"AWS::EC2::VPC"}}}'
NETWORK = Template(what="network", name=NAME, region=REGION, tags=TAGS, protected=True, body=BODY)
NOW = datetime(2026, 11, 26, tzinfo=UTC)
STACK = {"StackName": NAME, "CreationTime": NOW}


class Aws:
    """boto3's clients, each with what is expected of it; nothing else is answered."""

    def __init__(self) -> None:
        self.stubs: dict[tuple[str, str], Stubber] = {}
        self.account = Account(replace(STAGES["dev"], account=""), self.make)
        self("sts").add_response("get_caller_identity", {"Account": NUMBER, "Arn": f"arn:aws:iam::{NUMBER}:user/me"})

    def __call__(self, service: str, region: str = REGION) -> Stubber:
        if (service, region) not in self.stubs:
            keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
            client: Any = boto3.client(service, region_name=region, **keys)  # type: ignore[call-overload]  # any service
            self.stubs[service, region] = Stubber(client)
            self.stubs[service, region].activate()
        return self.stubs[service, region]

    def make(self, service: str, *, region_name: str, **_: object) -> Any:
        """As boto3.client does."""
        return self(service, region_name).client

    def is_now(self, status: str, name: str = NAME, **more: Any) -> None:
        """A question about a stack: network, where no other is named."""
        cloud = self("cloudformation")
        if status:
            answer = {"Stacks": [{**STACK, "StackName": name, "StackStatus": status, **more}]}
            cloud.add_response("describe_stacks", answer, {"StackName": name})
        else:
            cloud.add_client_error("describe_stacks", "ValidationError", expected_params={"StackName": name})

    def is_carried_out(self) -> None:
        """The change set of the stack network; what it makes goes again where it fails."""
        asked = {"StackName": NAME, "ChangeSetName": ARN, "RetainExceptOnCreate": True}
        self("cloudformation").add_response("execute_change_set", {}, asked)

    def has_events(self, *told: tuple[str, str, str], of: str = NAME, page: str = "", more: str = "") -> None:
        """What happened to a stack: resource, status, reason; the last thing first, and ``more`` pages."""
        events = [
            {
                "StackId": ARN, "EventId": str(n), "StackName": of, "Timestamp": NOW,
                "LogicalResourceId": name, "ResourceStatus": status, "ResourceStatusReason": reason,
            }
            for n, (name, status, reason) in enumerate(told)
        ]  # fmt: skip
        answer = {"StackEvents": events, **({"NextToken": more} if more else {})}
        asked = {"StackName": of, **({"NextToken": page} if page else {})}
        self("cloudformation").add_response("describe_stack_events", answer, asked)

    def is_changed(
        self,
        kind: str,
        changes: list[dict[str, Any]] | None,
        *,
        status: str = "CREATE_COMPLETE",
        reason: str = "",
        **expected: Any,
    ) -> None:
        """A change set of the stack network, made and looked at; without changes only made, and as it came out."""
        cloud = self("cloudformation")
        cloud.add_response(
            "create_change_set",
            {"Id": ARN},
            {
                "StackName": NAME,
                "ChangeSetName": ANY,
                "ChangeSetType": kind,
                "Parameters": [],
                "Capabilities": ["CAPABILITY_NAMED_IAM"],
                "Tags": [{"Key": key, "Value": value} for key, value in sorted(TAGS.items())],
                **expected,
            },
        )
        asked = {"StackName": NAME, "ChangeSetName": ARN}
        described = {"Status": "CREATE_COMPLETE", "Changes": changes or []}
        cloud.add_response("describe_change_set", {"Status": status, "StatusReason": reason}, asked)
        if kind == "UPDATE" and changes is not None:
            cloud.add_response("describe_change_set", described, asked)

    def done(self) -> None:
        """Everything that was expected was asked."""
        for (service, _), stub in self.stubs.items():
            if service != "sts":
                stub.assert_no_pending_responses()


def change(action: str, kind: str, name: str, replacement: str = "False", policy: str = "") -> dict[str, Any]:
    about = {"Action": action, "ResourceType": kind, "LogicalResourceId": name}
    about |= {"Replacement": replacement} if action == "Modify" else {}
    return {"Type": "Resource", "ResourceChange": about | ({"PolicyAction": policy} if policy else {})}


def named(what: str, **template: Any) -> Template:
    """A stack of the stage, with this in its template."""
    body = json.dumps({"Resources": {}, **template})
    return replace(NETWORK, what=what, name=f"vibecode-dev-{what}", protected=False, body=body)


def is_there(aws: Aws, name: str, *states: dict[str, str]) -> None:
    """A function, each time that it is asked for."""
    for state in states:
        aws("lambda").add_response("get_function_configuration", state, {"FunctionName": name})


def has_api(aws: Aws, *statuses: str, api: str = "") -> None:
    """The web function, Zappa's stack as it comes to this status, and the API, where there is one of its name."""
    is_there(aws, "vibecode-dev", {"State": "Active"})
    for status in statuses:
        aws.is_now(status, "vibecode-dev")
    found = [{"id": "1", "name": "another"}, *([{"id": api, "name": "vibecode-dev"}] if api else [])]
    aws("apigateway").add_response("get_rest_apis", {"items": found}, {})
