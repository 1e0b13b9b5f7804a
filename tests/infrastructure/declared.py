"""What a stage has, said in one way: as the local AWS was made, and as CloudFormation is told. Read by the tests.

Each reader gives the same dictionaries, so that a difference of theirs is a difference of the two clouds.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from moto import mock_aws

from infrastructure.config import REGION as REAL_REGION
from infrastructure.messaging import BUS
from vibecode.local import provision
from vibecode.local.names import REGION
from vibecode.resources import LOCAL_ACCOUNT, Resources

type Template = Mapping[str, Any]
type Described = dict[Any, Any]

DAY = 86400
VISIBLE_AFTER = 30  # seconds, where a queue says nothing: SQS's own
# The stacks that are made from resources.py, as the local AWS is. The others have queues and topics of their own.
PARTS = ("data", "messaging", "workflow", "integrations")
MAPPED = ("FunctionName", "EventSourceArn", "BatchSize", "FunctionResponseTypes", "ScalingConfig")
QUEUE = "AWS::SQS::Queue"
RULE = "AWS::Events::Rule"


def resources_of(stage: str) -> Resources:
    """A stage's names, in the region and the account of the local AWS."""
    return Resources(stage=stage, region=REGION, account=LOCAL_ACCOUNT)


def different(one: Described, other: Described) -> set[str]:
    """The kinds of things in which two clouds differ, of those that both have."""
    return {kind for kind in one.keys() & other.keys() if one[kind] != other[kind]}


def _which_have(rules: Described, what: str) -> Described:
    return {where: rule for where, rule in rules.items() if rule[what]}


def _by_queue(mappings: Iterable[Described]) -> Described:
    """One queue each. The worker may be named by its ARN as well."""
    return {
        each["EventSourceArn"]: each | {"FunctionName": each["FunctionName"].rpartition(":")[2]} for each in mappings
    }


# --- the local AWS ---------------------------------------------------------------------------------------------------
def in_local_aws(stage: str) -> Described:
    """What vibecode.local.provision makes for a stage, asked of an AWS in this process that holds nothing else."""
    names = resources_of(stage)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        provision.provision(names, mail_from="Shop <orders@shop.example>")
        provision.provision_workflow(names)
        rules = _local_rules(names)
        return {
            "queues": _local_queues(),
            "rules": _which_have(rules, "pattern"),
            "schedules": _which_have(rules, "rate"),
            "mappings": _by_queue(provision.mappings(names)),
            "archives": _local_archives(),
            "topics": {topic["TopicArn"] for topic in _ask("sns").list_topics()["Topics"]},
            "mail": {found["Name"] for found in _ask("ses").list_configuration_sets()["ConfigurationSets"]},
            "workflows": _local_workflows(),
            "tables": _local_tables(),
        }


def _ask(service: str) -> Any:
    # Not the AWS of the tests, which the environment names.
    ours = Config(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg]  # the stubs do not know it yet
    return boto3.client(service, region_name=REGION, config=ours)  # type: ignore[call-overload]  # any service


def _local_queues() -> Described:
    sqs, found = _ask("sqs"), {}
    for url in sqs.list_queues()["QueueUrls"]:
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        redrive = json.loads(told.get("RedrivePolicy", "{}"))
        found[told["QueueArn"]] = {
            "delay": int(told["DelaySeconds"]),
            "visibility": int(told["VisibilityTimeout"]),
            "kept": int(told["MessageRetentionPeriod"]),
            "tries": redrive.get("maxReceiveCount"),
            "dead": redrive.get("deadLetterTargetArn"),
        }
    return found


def _local_rules(names: Resources) -> Described:
    events, found = _ask("events"), {}
    for bus in ("default", names.bus):
        for rule in events.list_rules(EventBusName=bus)["Rules"]:
            if rule.get("ManagedBy"):  # an archive's own
                continue
            targets = events.list_targets_by_rule(Rule=rule["Name"], EventBusName=bus)["Targets"]
            found[bus, rule["Name"]] = {
                "pattern": json.loads(rule["EventPattern"]) if rule.get("EventPattern") else None,
                "rate": rule.get("ScheduleExpression"),
                "targets": {target["Arn"] for target in targets},
            }
    return found


def _local_archives() -> Described:
    events = _ask("events")
    told = (events.describe_archive(ArchiveName=each["ArchiveName"]) for each in events.list_archives()["Archives"])
    return {one["ArchiveName"]: {"of": one["EventSourceArn"], "days": one["RetentionDays"]} for one in told}


def _local_workflows() -> Described:
    workflows = _ask("stepfunctions")
    arns = [each["stateMachineArn"] for each in workflows.list_state_machines()["stateMachines"]]
    told = (workflows.describe_state_machine(stateMachineArn=arn) for arn in arns)
    return {one["stateMachineArn"]: {"kind": one["type"], "runs": json.loads(one["definition"])} for one in told}


def _local_tables() -> Described:
    tables, found = _ask("dynamodb"), {}
    for name in tables.list_tables()["TableNames"]:
        told = tables.describe_table(TableName=name)["Table"]
        ends = tables.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        found[name] = _table(told) | {"ends": ends.get("AttributeName")}
    return found


def _table(told: Mapping[str, Any]) -> Described:
    return {
        "types": {each["AttributeName"]: each["AttributeType"] for each in told["AttributeDefinitions"]},
        "keys": _keys(told),
        "indexes": {
            each["IndexName"]: (_keys(each), each["Projection"]["ProjectionType"])
            for each in told["GlobalSecondaryIndexes"]
        },
    }


def _keys(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each["AttributeName"], each["KeyType"]) for each in told["KeySchema"]]


# --- the templates ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Stack:
    """A template whose values can be read as they will be: names, ARNs and accounts in the place of references."""

    template: Template

    @classmethod
    def of(cls, template: Template) -> "Stack":
        """In the local AWS's region, which is another than the real one and says nothing by that."""
        return cls(json.loads(json.dumps(template).replace(REAL_REGION, REGION)))

    def each(self, kind: str) -> Iterator[tuple[str, Described]]:
        """The resources of a kind by their logical ids, and what CloudFormation is told of them."""
        for name, resource in self.template["Resources"].items():
            if resource["Type"] == kind:
                yield name, self.value(resource.get("Properties", {}))

    def value(self, said: Any) -> Any:
        """What a value will be. What another stack exports stays a reference."""
        if isinstance(said, list):
            return [self.value(one) for one in said]
        if not isinstance(said, dict):
            return said
        if said == {"Ref": "AWS::AccountId"}:
            return LOCAL_ACCOUNT
        if said.keys() == {"Fn::Join"}:
            between, parts = said["Fn::Join"]
            return str(between).join(str(self.value(part)) for part in parts)
        if said.keys() == {"Fn::GetAtt"} and said["Fn::GetAtt"][1] == "Arn":
            return self.arn(said["Fn::GetAtt"][0])
        if said.keys() == {"Ref"} and said["Ref"] in self.template["Resources"]:
            return self.name(said["Ref"])
        return {name: self.value(one) for name, one in said.items()}

    def name(self, logical: str) -> str:
        """What a resource is called in its account."""
        properties = self.template["Resources"][logical]["Properties"]
        named = ("QueueName", "Name", "TopicName", "LogGroupName", "RoleName", "FunctionName", "TableName")
        return next((str(self.value(properties[one])) for one in named if one in properties), logical)

    def arn(self, logical: str) -> str:
        """The ARN of a resource whose name we give; of any other its logical id."""
        resource = self.template["Resources"][logical]
        told, name = resource["Properties"], self.name(logical)
        where: dict[str, Callable[[], str]] = {
            QUEUE: lambda: f"sqs:{REGION}:{LOCAL_ACCOUNT}:{name}",
            "AWS::Events::EventBus": lambda: f"events:{REGION}:{LOCAL_ACCOUNT}:event-bus/{name}",
            RULE: lambda: (
                f"events:{REGION}:{LOCAL_ACCOUNT}:rule/"
                + (f"{self.value(told['EventBusName'])}/" if "EventBusName" in told else "")
                + name
            ),
        }
        return f"arn:aws:{where[resource['Type']]()}" if resource["Type"] in where else logical


def in_templates(templates: Mapping[str, Template], stage: str) -> Described:
    """What the stacks of a stage make that the local AWS has too."""
    mine = [Stack.of(templates[f"vibecode-{stage}-{part}"]) for part in PARTS]
    of_the_bus = resources_of(stage).queue_name(BUS, dead=True)  # AWS's alone

    def each(kind: str) -> Iterator[tuple[Stack, str, Described]]:
        return ((stack, name, told) for stack in mine for name, told in stack.each(kind))

    rules = {(told.get("EventBusName", "default"), told["Name"]): _rule(told) for _, _, told in each(RULE)}
    return {
        "queues": {
            stack.arn(name): _queue(told) for stack, name, told in each(QUEUE) if told["QueueName"] != of_the_bus
        },
        "rules": _which_have(rules, "pattern"),
        "schedules": _which_have(rules, "rate"),
        "mappings": _by_queue(
            {name: told[name] for name in MAPPED if name in told}
            for _, _, told in each("AWS::Lambda::EventSourceMapping")
        ),
        "senders": {
            f"arn:aws:sqs:{REGION}:{LOCAL_ACCOUNT}:{queue}": _senders(told)
            for _, _, told in each("AWS::SQS::QueuePolicy")
            for queue in told["Queues"]
            if queue != of_the_bus
        },
        "archives": {
            told["ArchiveName"]: {"of": told["SourceArn"], "days": told["RetentionDays"]}
            for _, _, told in each("AWS::Events::Archive")
        },
        "topics": {
            f"arn:aws:sns:{REGION}:{LOCAL_ACCOUNT}:{told['TopicName']}" for _, _, told in each("AWS::SNS::Topic")
        },
        "mail": {told["Name"] for _, _, told in each("AWS::SES::ConfigurationSet")},
        "workflows": {
            f"arn:aws:states:{REGION}:{LOCAL_ACCOUNT}:stateMachine:{told['StateMachineName']}": _workflow(told)
            for _, _, told in each("AWS::StepFunctions::StateMachine")
        },
        "tables": {
            told["TableName"]: _table(told) | {"ends": told["TimeToLiveSpecification"]["AttributeName"]}
            for _, _, told in each("AWS::DynamoDB::GlobalTable")
        },
    }


def _queue(told: Described) -> Described:
    redrive = told.get("RedrivePolicy", {})
    return {
        "delay": told.get("DelaySeconds", 0),
        "visibility": told.get("VisibilityTimeout", VISIBLE_AFTER),
        "kept": told["MessageRetentionPeriod"],
        "tries": redrive.get("maxReceiveCount"),
        "dead": redrive.get("deadLetterTargetArn"),
    }


def _senders(told: Described) -> set[str]:
    """The rules whose facts a queue's policy lets in. Raises where it lets in anybody else."""
    allowed = [each for each in told["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"]
    rules = {str(each["Condition"]["ArnEquals"]["aws:SourceArn"]) for each in allowed}
    assert all(
        each
        == {
            "Sid": each["Sid"],
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": each["Resource"],
            "Condition": {
                "ArnEquals": {"aws:SourceArn": each["Condition"]["ArnEquals"]["aws:SourceArn"]},
                "StringEquals": {"aws:SourceAccount": LOCAL_ACCOUNT},
            },
        }
        for each in allowed
    )
    return rules


def _rule(told: Described) -> Described:
    return {
        "pattern": told.get("EventPattern"),
        "rate": told.get("ScheduleExpression"),
        "targets": {target["Arn"] for target in told["Targets"]},
    }


def _workflow(told: Described) -> Described:
    definition = told["DefinitionString"]
    for name, value in told["DefinitionSubstitutions"].items():
        definition = definition.replace(f"${{{name}}}", value)
    return {"kind": told["StateMachineType"], "runs": json.loads(definition)}
