"""What a change set would do to a stack: what it makes, and what the shop would no longer have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What holds nothing that the next deploy would not make again: rules, references, and what is new with each content.
# A type that is not here counts as one that holds something.
HOLDS_NOTHING = frozenset({
    "AWS::ApiGateway::Deployment", "AWS::ApiGateway::GatewayResponse", "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route", "AWS::CloudFront::CachePolicy", "AWS::CloudFront::Function",
    "AWS::CloudFront::OriginAccessControl", "AWS::CloudFront::ResponseHeadersPolicy", "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::CompositeAlarm", "AWS::CloudWatch::Dashboard", "AWS::EC2::Route",
    "AWS::EC2::SecurityGroupEgress", "AWS::EC2::SecurityGroupIngress", "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::ECS::TaskDefinition", "AWS::Events::Rule", "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy",
    "AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission", "AWS::Lambda::Version", "AWS::Logs::MetricFilter",
    "AWS::Logs::QueryDefinition", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy",
    "AWS::WAFv2::LoggingConfiguration",
})  # fmt: skip

KINDS = ("made", "modified", "remade", "kept", "lost")  # of changes, as Changes has them


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change set would do, each as `Type LogicalId`."""

    made: Sequence[str] = ()
    modified: Sequence[str] = ()
    remade: Sequence[str] = ()  # removed or replaced, and it holds nothing
    kept: Sequence[str] = ()  # the stack lets go of it, and it stays
    lost: Sequence[str] = ()  # removed or replaced: what was in it goes, or the shop no longer has it
    new_stack: int = 0  # resources, where there is no stack yet
    waits_for: Sequence[str] = ()  # what a stack before it does not put out yet: nobody can say before
    none: bool = False  # all is as it should be

    def __str__(self) -> str:
        if self.new_stack:
            return f"new, {self.new_stack} resources"
        if self.waits_for:
            return f"known when a stack before it puts out {', '.join(self.waits_for)}"
        counted = {
            "made": self.made,
            "modified": self.modified,
            "removed or made anew": self.remade,
            "let go": self.kept,
            "removed or replaced": self.lost,
        }
        said = ", ".join(f"{len(each)} {verb}" for verb, each in counted.items() if each)
        return "no change" if self.none else said or "what it puts out"


def kind_of(change: Mapping[str, Any]) -> str:
    """Which of Changes it is."""
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html
    action, replaced = change["Action"], change.get("Replacement", "False") != "False"
    if action in {"Add", "Import"}:
        return "made"
    if action == "SyncWithActual" or (action == "Modify" and not replaced):
        return "modified"
    if change["ResourceType"] in HOLDS_NOTHING:
        return "remade"
    # One that is replaced is lost also where the old one is kept: the shop goes on with an empty one.
    return "kept" if action == "Remove" and change.get("PolicyAction") == "Retain" else "lost"
