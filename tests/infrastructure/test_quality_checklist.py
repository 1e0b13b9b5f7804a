"""The quality checklist of the specification, one test an item, over every resource of every stage's templates.

A finding names its resource. What is right as it is stands in a table here, with its reason.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from infrastructure.config import STAGES, ZONES
from infrastructure.privilege import check
from infrastructure.privilege.doors import strangers
from infrastructure.privilege.templates import Templates as Known
from infrastructure.privilege.templates import region_of
from tests.infrastructure.templates import ACCOUNT, Resource, Templates, as_list, named, of_stage, policies, resources
from vibecode.local.folder import REPOSITORY
from vibecode.resources import QUEUES

BUCKET, TOPIC, QUEUE, KEY = "AWS::S3::Bucket", "AWS::SNS::Topic", "AWS::SQS::Queue", "AWS::KMS::Key"
CLUSTER, INSTANCE, PROXY = "AWS::RDS::DBCluster", "AWS::RDS::DBInstance", "AWS::RDS::DBProxy"
TABLE, FILES, POOL, VAULT = (
    "AWS::DynamoDB::GlobalTable",
    "AWS::EFS::FileSystem",
    "AWS::Cognito::UserPool",
    "AWS::Backup::BackupVault",
)
ENCRYPTS_MESSAGES = ("observability-worldwide", "pipeline")  # stacks whose key encrypts what lives for days
# cfn-lint's own files: to import it takes longer than all of these tests.
SCHEMAS = Path(str(find_spec("cfnlint").origin)).parent / "data" / "schemas"  # type: ignore[union-attr]  # it is there
TAGS = ("app", "cost-centre", "data-class", "stage")

# Deeds for which AWS knows no resource: they are allowed on "*" or not at all. Whether a stage's are still needed is
# asked by the proof; those of who deploys are no stage's.
EXCEPTIONS = json.loads(check.EXCEPTIONS.read_text())
BY_WHO_DEPLOYS = EXCEPTIONS["everywhere by who deploys"]
WITHOUT_RESOURCE = EXCEPTIONS["everywhere"] | BY_WHO_DEPLOYS
# What a wildcard may follow: a name of ours, or of a thing in another stack.
OURS = re.compile(rf"vibecode[-/](?:{'|'.join(STAGES)}|pipeline)\b|<")
# Patterns before which no name stands, for AWS gives the names; what narrows each is beside it in the code.
_HERE = f"eu-north-1:{ACCOUNT}"
ALL_OF_A_KIND = {
    "arn:aws:apigateway:eu-north-1::/restapis/*": "of the API that Zappa makes: its id is AWS's",
    "arn:aws:apigateway:eu-north-1::/tags/*": "of the same",
    f"arn:aws:cognito-idp:{_HERE}:userpool/*": "its id is AWS's; not where the tag says another stage",
    f"arn:aws:ec2:{_HERE}:*/*": "a function in the VPC, and never by our own code",
    f"arn:aws:kms:{_HERE}:key/*": "only by the stage's alias",
    f"arn:aws:secretsmanager:{_HERE}:secret:rds!cluster-*": "only of the stage's cluster, by its tag",
}
# Names and tags hold CloudFormation, and a limit the roles that it makes; a limit allows nobody anything by itself.
# docs/decisions/0023, and each of their statements in test_deploying_rights.py.
HELD = re.compile(r"^vibecode-(pipeline-(staging|production)-cloudformation|\w+-boundary)$")


# --- IAM policies follow least privilege -----------------------------------------------------------------------------
def test_iam_policies_follow_least_privilege(templates: Templates) -> None:
    found = [f"{resource}: {complaint}" for resource in resources(templates) for complaint in too_much(resource)]
    found += strangers(Known(templates))
    assert not found, named(found)
    assert sum(1 for resource in resources(templates) for _ in policies(resource)) > 50, "it has looked at something"


def too_much(resource: Resource) -> Iterator[str]:
    """What a resource allows that is wider than it has to be."""
    held = HELD.match(str(name_of(resource)))
    for whose, statement in policies(resource):
        if statement["Effect"] == "Deny":
            continue
        if {"NotAction", "NotResource"} & statement.keys():
            yield "allows all but something"
        elif whose == "identity" and not held:
            yield from too_wide(statement)


def too_wide(statement: Mapping[str, Any]) -> Iterator[str]:
    """Deeds of an identity's statement that are many in one word, or on everything."""
    deeds = as_list(statement["Action"])
    yield from (f"{deed} is many deeds" for deed in deeds if "*" in deed)
    for on in as_list(statement["Resource"]):
        if on == "*":
            yield from (f"{deed} on everything" for deed in deeds if deed not in WITHOUT_RESOURCE)
        elif "*" in on and not OURS.search(on.partition("*")[0]) and on not in ALL_OF_A_KIND:
            yield f"{', '.join(deeds)} on all of {on}"


def test_nothing_is_excused_that_nobody_has(templates: Templates) -> None:
    """Of a stage's roles the proof says so: see `_stale` in infrastructure/privilege/check.py."""
    statements = [
        statement
        for resource in resources(templates)
        for whose, statement in policies(resource)
        if whose == "identity" and statement["Effect"] == "Allow" and not HELD.match(str(name_of(resource)))
    ]
    found = {on for statement in statements for on in as_list(statement["Resource"])}
    everywhere = {
        deed
        for resource in resources({"vibecode-pipeline": templates["vibecode-pipeline"]})
        for _, statement in policies(resource)
        if "*" in as_list(statement.get("Resource"))
        for deed in as_list(statement["Action"])
    }

    assert ALL_OF_A_KIND.keys() - found == set()
    assert BY_WHO_DEPLOYS.keys() - everywhere == set()
    assert all(source.startswith("https://docs.aws.amazon.com/") for source in BY_WHO_DEPLOYS.values())


def name_of(resource: Resource) -> str | None:
    """What a role or a policy is called."""
    name: str | None = resource.properties.get("RoleName", resource.properties.get("ManagedPolicyName"))
    return name


@pytest.mark.parametrize(
    "on",
    [
        "*", "arn:aws:*", "arn:aws:s3:::*", "arn:aws:s3:::*/products/*", "arn:aws:dynamodb:eu-north-1:123456789012:*",
        "arn:aws:sqs:*:123456789012:vibecode-dev-mail", "arn:aws:s3:::vibecode-*",
        "arn:aws:lambda:eu-north-1:123456789012:function:*",
    ],
)  # fmt: skip
def test_whatever_is_nobodys_name_is_too_wide(on: str) -> None:
    assert [*too_wide({"Action": "s3:GetObject", "Resource": [on]})]
    assert not [
        *too_wide({"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::vibecode-dev-media-{ACCOUNT}/products/*"})
    ]


# --- Resources are tagged for cost tracking --------------------------------------------------------------------------
def test_resources_are_tagged_for_cost_tracking(templates: Templates) -> None:
    tagged = [(each, tags) for each in resources(templates) if (tags := tags_of(each)) is not None]
    found = [
        f"{each}: no {', '.join(missing)}" for each, tags in tagged if (missing := sorted(set(TAGS) - tags.keys()))
    ]
    assert not found, named(found)
    said = {(each.stage, tags["stage"], tags["cost-centre"]) for each, tags in tagged}
    assert said == {
        ("dev", "dev", "engineering"),
        ("staging", "staging", "engineering"),
        ("production", "production", "shop"),
        ("pipeline", "all", "engineering"),
    }
    assert {tags["app"] for _, tags in tagged} == {"vibecode"}
    personal = {each.stack.partition(f"{each.stage}-")[2] for each, tags in tagged if tags["data-class"] == "personal"}
    internal = {each.stack.partition(f"{each.stage}-")[2] for each, tags in tagged if tags["data-class"] == "internal"}
    # Foundation and worldwide have the addresses of who asked for files, or was refused.
    assert personal == {"foundation", "data", "messaging", "live", "worldwide", "front", "identity", "runtime"}
    assert internal == {each.partition("-")[2].partition("-")[2] for each in templates} - personal


def tags_of(resource: Resource) -> Mapping[str, str] | None:
    """The tags of a resource; None where AWS gives its type none."""
    place = place_of_tags(resource.type)
    if place is None:
        return None
    tags = (
        resource.properties["Replicas"][0].get(place, {})
        if resource.type == TABLE
        else resource.properties.get(place, {})
    )
    return tags if isinstance(tags, dict) else {tag["Key"]: tag["Value"] for tag in tags}


@cache
def place_of_tags(kind: str) -> str | None:
    """The property in which a type has its tags, as AWS's own schema says; None where it has none."""
    if kind == TABLE:
        return "Tags"
    schema = json.loads((SCHEMAS / "resources" / f"{known_types()[kind]}.json").read_text())
    tagging = schema.get("tagging") or {"taggable": "Tags" in schema["properties"]}
    return str(tagging.get("tagProperty", "Tags")).rpartition("/")[2] if tagging.get("taggable", True) else None


@cache
def known_types() -> Mapping[str, str]:
    """Where cfn-lint keeps the schema of each type. us-east-1 has them all."""
    known: Mapping[str, str] = json.loads((SCHEMAS / "providers" / "us-east-1.json").read_text())
    return known


# --- CloudWatch alarms configured ------------------------------------------------------------------------------------
@pytest.mark.parametrize("stage", STAGES)
def test_cloudwatch_alarms_are_configured(templates: Templates, stage: str) -> None:
    mine = of_stage(templates, stage)
    alarms = list(resources(mine, "AWS::CloudWatch::Alarm"))
    watched = {value for alarm in alarms for value in dimensions_of(alarm)}
    paging = " ".join(found.properties["AlarmRule"] for found in resources(mine, "AWS::CloudWatch::CompositeAlarm"))

    assert {f"vibecode-{stage}", f"vibecode-{stage}-worker"} <= watched, "both functions"
    dead = {*(queue.key for queue in QUEUES), "bus"}
    assert {f"vibecode-{stage}-{key}-dead" for key in dead} <= watched, "every dead-letter queue"
    assert {cluster.properties["DBClusterIdentifier"] for cluster in resources(mine, CLUSTER)} <= watched
    for queue in resources(mine, QUEUE):
        assert queue.properties["QueueName"] in watched, f"nobody looks at {queue}"
    for machine in resources(mine, "AWS::StepFunctions::StateMachine"):
        assert any(value.endswith(f":stateMachine:{machine.properties['StateMachineName']}") for value in watched)
    for alarm in alarms:
        assert alarm.properties.get("AlarmActions") or f"<{alarm.name}.Arn>" in paging, (
            f"{alarm} has no topic, whoever listens there"
        )


def dimensions_of(alarm: Resource) -> Iterator[str]:
    """What an alarm looks at."""
    metrics = [
        metric["MetricStat"]["Metric"] for metric in alarm.properties.get("Metrics", []) if "MetricStat" in metric
    ]
    for metric in metrics or [alarm.properties]:
        yield from (dimension["Value"] for dimension in metric.get("Dimensions", []))


# --- Backup strategy implemented -------------------------------------------------------------------------------------
class Kept(NamedTuple):
    """How long a stage keeps its database, and who may take a backup away."""

    days: int
    lock: Mapping[str, int] | None


# In words of their own, and not config.py's. A lock with ChangeableForDays would be one of compliance, which nobody
# can ever take back: https://docs.aws.amazon.com/aws-backup/latest/devguide/vault-lock.html
KEPT = {"dev": Kept(1, None), "staging": Kept(7, None), "production": Kept(35, {"MinRetentionDays": 7})}


@pytest.mark.parametrize("stage", STAGES)
def test_a_backup_strategy_is_implemented(templates: Templates, stage: str) -> None:
    mine, wanted = of_stage(templates, stage), KEPT[stage]
    [cluster] = resources(mine, CLUSTER)
    [plan] = resources(mine, "AWS::Backup::BackupPlan")
    [chosen] = resources(mine, "AWS::Backup::BackupSelection")
    [vault] = resources(mine, VAULT)

    assert cluster.properties["BackupRetentionPeriod"] >= wanted.days, "point in time, so far back"
    assert cluster.properties["DeletionProtection"] is True
    assert any(f"<{cluster.name}>" in arn for arn in chosen.properties["BackupSelection"]["Resources"])
    for rule in plan.properties["BackupPlan"]["BackupPlanRule"]:
        assert rule["Lifecycle"]["DeleteAfterDays"] >= max(wanted.days, 7)
    assert vault.properties.get("LockConfiguration") == wanted.lock
    for table in resources(mine, TABLE):
        [replica] = table.properties["Replicas"]
        assert replica["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        assert replica["DeletionProtectionEnabled"] is True
    for pool in resources(mine, POOL):
        assert pool.properties["DeletionProtection"] == "ACTIVE"
    for files in resources(mine, FILES):
        assert files.properties["BackupPolicy"] == {"Status": "ENABLED"}
    for bucket in resources(mine, BUCKET):
        assert bucket.properties["VersioningConfiguration"] == {"Status": "Enabled"}, bucket
    for held in resources(mine, CLUSTER, TABLE, POOL, FILES, VAULT, BUCKET, KEY):
        if not held.stack.endswith(ENCRYPTS_MESSAGES):
            assert held.kept, f"{held} would go with its stack"


# --- Multi-AZ for high availability ----------------------------------------------------------------------------------
def test_production_is_in_three_zones(templates: Templates) -> None:
    mine = of_stage(templates, "production")
    zones: dict[str, set[str]] = {}
    zone_of = {}
    for subnet in resources(mine, "AWS::EC2::Subnet"):
        tier = next(tag["Value"] for tag in subnet.properties["Tags"] if tag["Key"].startswith("aws-cdk:subnet-name"))
        zones.setdefault(tier, set()).add(subnet.properties["AvailabilityZone"])
        zone_of[subnet.name] = subnet.properties["AvailabilityZone"]
    nat_gateways = list(resources(mine, "AWS::EC2::NatGateway"))

    assert list(zones) == ["egress", "private", "data"]
    assert all(found == set(ZONES) for found in zones.values())
    assert {zone_of[gateway.properties["SubnetId"].strip("<>")] for gateway in nat_gateways} == set(ZONES)
    assert len(list(resources(mine, INSTANCE))) >= 2, "a reader that takes over"
    for placed in resources(mine, "AWS::RDS::DBSubnetGroup", "AWS::ElastiCache::ServerlessCache", PROXY):
        subnets = next(placed.properties[name] for name in ("SubnetIds", "VpcSubnetIds") if name in placed.properties)
        assert len(set(subnets)) == 3, placed
    for service in resources(mine, "AWS::ECS::Service"):
        assert len(service.properties["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"]) == 3, service
    if list(resources(mine, FILES)):
        assert len(list(resources(mine, "AWS::EFS::MountTarget"))) == 3


# --- Encryption at rest and in transit -------------------------------------------------------------------------------
type Check = Callable[[Mapping[str, Any]], object]

AT_REST: Mapping[str, Check] = {
    CLUSTER: lambda has: has.get("StorageEncrypted") is True and has.get("KmsKeyId"),
    TABLE: lambda has: has.get("SSESpecification", {}).get("SSEType") == "KMS",
    BUCKET: lambda has: has.get("BucketEncryption"),
    QUEUE: lambda has: has.get("KmsMasterKeyId"),
    TOPIC: lambda has: has.get("KmsMasterKeyId"),
    KEY: lambda has: has.get("EnableKeyRotation") is True or has.get("KeySpec", "").startswith("HMAC"),
    VAULT: lambda has: has.get("EncryptionKeyArn"),
    FILES: lambda has: has.get("Encrypted") is True and has.get("KmsKeyId"),
    "AWS::CodeBuild::Project": lambda has: has.get("EncryptionKey"),
    "AWS::CodePipeline::Pipeline": lambda has: has["ArtifactStore"].get("EncryptionKey"),
    "AWS::ECR::Repository": lambda has: has.get("EncryptionConfiguration"),
    "AWS::ElastiCache::ServerlessCache": lambda has: has.get("KmsKeyId"),
    "AWS::Events::Archive": lambda has: has.get("KmsKeyIdentifier"),
    "AWS::Events::EventBus": lambda has: has.get("KmsKeyIdentifier"),
    "AWS::Logs::LogGroup": lambda has: has.get("KmsKeyId"),
    "AWS::SecretsManager::Secret": lambda has: has.get("KmsKeyId"),
    "AWS::StepFunctions::StateMachine": lambda has: (
        has.get("EncryptionConfiguration", {}).get("Type") == "CUSTOMER_MANAGED_KMS_KEY"
    ),
}
OTHERWISE = {
    INSTANCE: "of a cluster, which is encrypted as a whole",
    POOL: "Cognito's own key encrypts it, and the one of a stage would be asked at each sign-in: docs/security.md",
    "AWS::ApiGateway::Deployment": "of a cache, which ours has none of",
    "AWS::CloudFront::Distribution": "of single fields of a form, above TLS",
    "AWS::EC2::VPC": "what it could encrypt is in transit, between instances",
    "AWS::ECS::Cluster": "of a task's own disk, which Fargate encrypts with a key of AWS's own",
    "AWS::ECS::Service": "of volumes of EBS and of TLS between services, which ours have none of",
    "AWS::ECS::TaskDefinition": "in transit: IN_TRANSIT",
    "AWS::Lambda::EventSourceMapping": "of filters, which ours have none of",
    "AWS::Lambda::Function": "of environment variables, which those of the stacks have none of; Zappa's have the key",
}


NOWHERE = {"255.255.255.255/32"}  # what CDK writes for a group that speaks to nobody
# CloudWatch encrypts every log group; with a key of ours where there is one, and these are in another region.
BY_AWS_OWN_KEY = re.compile(r"^vibecode-\w+-worldwide/.* \(AWS::Logs::LogGroup\)$")


def test_everything_is_encrypted_at_rest(templates: Templates) -> None:
    found = [
        str(each)
        for each in resources(templates, *AT_REST)
        if not AT_REST[each.type](each.properties) and not BY_AWS_OWN_KEY.match(str(each))
    ]
    assert not found, named(found)


# What a service that a key lets in has to do with it, in the key's own region.
ASKS_FOR_A_KEY: Mapping[str, str] = {
    "budgets": "AWS::Budgets::Budget",
    "cloudfront": "AWS::CloudFront::Distribution",
    "cloudwatch": "AWS::CloudWatch::Alarm",
    "costalerts": "AWS::CE::AnomalySubscription",
    "delivery.logs": "AWS::StepFunctions::StateMachine",
    "events": "AWS::Events::Rule",
    "logs": "AWS::Logs::LogGroup",
}


def test_a_key_lets_in_only_services_that_have_something_to_do_with_it(templates: Templates) -> None:
    found = [
        f"{key}: {service}"
        for key in resources(templates, KEY)
        for _, statement in policies(key)
        for service in as_list(statement["Principal"].get("Service", []))
        if not asks_for(templates, key, service.removesuffix(".amazonaws.com"))
    ]
    assert not found, named(found)


def asks_for(templates: Templates, key: Resource, service: str) -> bool:
    """Whether a service has a resource in the region of a key: in some stage, as an alarm may be for a setting only."""
    region = region_of(key.stack)
    kind = ASKS_FOR_A_KEY[service.removesuffix(f".{region}")]
    return any(
        region_of(each.stack) == region and (each.stage == "pipeline") is (key.stage == "pipeline")
        for each in resources(templates, kind)
    )


def test_whatever_type_can_be_encrypted_is_judged(templates: Templates, everything: Templates) -> None:
    kinds = {each.type for made in (templates, everything) for each in resources(made) if has_encryption(each.type)}
    assert kinds - AT_REST.keys() - OTHERWISE.keys() == set()
    assert AT_REST.keys() - kinds == set(), "each is found by itself: none could be left out and nobody see it"
    assert OTHERWISE.keys() - kinds == set(), "and nothing is excused that nobody has"


@cache
def has_encryption(kind: str) -> bool:
    """Whether AWS's schema of a type has a property about keys or encryption, at whatever depth."""
    schema = json.loads((SCHEMAS / "resources" / f"{known_types()[kind]}.json").read_text())
    return any(re.search(r"Kms|KMS|Encrypt|KeyRotation", name) for name in properties_in(schema))


def properties_in(schema: Any) -> Iterator[str]:
    """The names of all properties in a schema, also of those that others have."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from schema["properties"]
        for inner in schema.values():
            yield from properties_in(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from properties_in(inner)


def test_everything_is_encrypted_in_transit(templates: Templates) -> None:
    found = list(in_the_clear(templates))
    assert not found, named(found)


def in_the_clear(templates: Templates) -> Iterator[str]:
    """Doors that would let somebody in without TLS."""
    for stack, template in templates.items():
        for guarded, policy, field in WITH_POLICY:
            closed = {
                name
                for found in resources({stack: template}, policy)
                for name in re.findall(r"<(\w+)", json.dumps(found.properties[field]))
                if any(refuses_plain(guarded, name, statement) for _, statement in policies(found))
            }
            yield from (str(each) for each in resources({stack: template}, guarded) if each.name not in closed)
    for kind, asks_for_tls in IN_TRANSIT.items():
        yield from (str(each) for each in resources(templates, kind) if not asks_for_tls(each.properties))


# What lets in whom its policy, in the same stack, does not refuse.
WITH_POLICY = (
    (BUCKET, "AWS::S3::BucketPolicy", "Bucket"),
    (TOPIC, "AWS::SNS::TopicPolicy", "Topics"),
    (QUEUE, "AWS::SQS::QueuePolicy", "Queues"),
)


def served_by_tls(has: Mapping[str, Any]) -> bool:
    """Whether a distribution asks and answers by TLS alone."""
    told = has["DistributionConfig"]
    behaviours = [told["DefaultCacheBehavior"], *told.get("CacheBehaviors", [])]
    origins = [origin["CustomOriginConfig"] for origin in told["Origins"] if "CustomOriginConfig" in origin]
    return all(each["ViewerProtocolPolicy"] in {"https-only", "redirect-to-https"} for each in behaviours) and all(
        origin["OriginProtocolPolicy"] == "https-only" for origin in origins
    )


IN_TRANSIT: Mapping[str, Check] = {
    PROXY: lambda has: has["RequireTLS"],
    "AWS::CloudFront::Distribution": served_by_tls,
    "AWS::ECS::TaskDefinition": lambda has: all(
        volume["EFSVolumeConfiguration"]["TransitEncryption"] == "ENABLED"
        for volume in has.get("Volumes", [])
        if "EFSVolumeConfiguration" in volume
    ),
    "AWS::RDS::DBClusterParameterGroup": lambda has: has["Parameters"].get("rds.force_ssl") == "1",
}


def test_nobody_is_let_into_the_network_by_an_address(templates: Templates) -> None:
    """Each group names its peers; what leaves for anywhere leaves by HTTPS."""
    groups = list(resources(templates, "AWS::EC2::SecurityGroup"))
    inwards = [each.properties for each in resources(templates, "AWS::EC2::SecurityGroupIngress")]
    outwards = [each.properties for each in resources(templates, "AWS::EC2::SecurityGroupEgress")]
    for group in groups:
        inwards += group.properties.get("SecurityGroupIngress", [])
        outwards += group.properties.get("SecurityGroupEgress", [])

    assert len(groups) >= 4 * len(STAGES)
    assert [rule for rule in inwards if not {"SourceSecurityGroupId"} & rule.keys()] == []
    anywhere = [rule for rule in outwards if "CidrIp" in rule and rule["CidrIp"] not in NOWHERE]
    assert [rule for rule in anywhere if (rule["FromPort"], rule["ToPort"]) != (443, 443)] == []
    assert [rule for rule in outwards if "CidrIpv6" in rule] == []


# What nobody may do without TLS, and how a policy names the thing. Of a topic AWS asks for the one deed:
# https://docs.aws.amazon.com/sns/latest/dg/sns-security-best-practices.html
ALL_OF = {
    BUCKET: ("s3:*", {"<{}.Arn>", "<{}.Arn>/*"}),
    TOPIC: ("sns:Publish", {"<{}>"}),
    QUEUE: ("sqs:*", {"<{}.Arn>"}),
}


def refuses_plain(kind: str, name: str, statement: Mapping[str, Any]) -> bool:
    """Whether it denies everybody who comes without TLS all of that."""
    deeds, things = ALL_OF[kind]
    condition = json.dumps(statement.get("Condition")).replace('"false"', "false")
    return (
        statement["Effect"] == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and statement.get("Action") == deeds
        and {thing.format(name) for thing in things} <= {*as_list(statement.get("Resource"))}
        and json.loads(condition) == {"Bool": {"aws:SecureTransport": False}}
    )


REFUSES = {
    "Effect": "Deny",
    "Principal": {"AWS": "*"},
    "Action": "sqs:*",
    "Resource": "<Relay.Arn>",
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


@pytest.mark.parametrize(
    "less",
    [
        {"Effect": "Allow"},
        {"Principal": {"Service": "events.amazonaws.com"}},
        {"Action": "sqs:SendMessage"},
        {"Resource": "<Another.Arn>"},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
        {"Condition": {}},
        {"Condition": {**REFUSES["Condition"], "StringEquals": {"aws:PrincipalAccount": ACCOUNT}}},  # type: ignore[dict-item]  # a dict
    ],
)
def test_what_refuses_less_than_everything_without_tls_closes_no_door(less: Mapping[str, Any]) -> None:
    assert refuses_plain(QUEUE, "Relay", REFUSES)
    assert not refuses_plain(QUEUE, "Relay", {**REFUSES, **less})


# --- Cost optimization reviewed --------------------------------------------------------------------------------------
# USD a month, and NAT gateways: as they were reviewed (docs/operations.md, What it costs), whatever config.py says.
SPENT = {"dev": (100, 1), "staging": (300, 1), "production": (1500, 3)}


# From how many ACUs on, whether RDS Proxy is before it, and how many read: a proxy would keep a cluster awake.
DATABASES = {"dev": (0, 0, 0), "staging": (0.5, 1, 0), "production": (1, 1, 1)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_database_sleeps_where_nobody_works_at_night_and_has_a_proxy_everywhere_else(
    templates: Templates, stage: str
) -> None:
    mine = of_stage(templates, stage)
    [cluster] = resources(mine, CLUSTER)
    proxies, instances = len([*resources(mine, "AWS::RDS::DBProxy")]), len([*resources(mine, "AWS::RDS::DBInstance")])

    least = cluster.properties["ServerlessV2ScalingConfiguration"]["MinCapacity"]
    assert (least, proxies, instances - 1) == DATABASES[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_files_that_are_asked_for_seldom_cost_less_and_stay(templates: Templates, stage: str) -> None:
    rules = {
        (bucket.properties["BucketName"].split("-")[2], rule.get("Prefix", ""), rule.get("Id")): rule
        for bucket in resources(of_stage(templates, stage), "AWS::S3::Bucket")
        for rule in bucket.properties.get("LifecycleConfiguration", {}).get("Rules", [])
    }
    cheaper = {where: rule for where, rule in rules.items() if rule.get("Transitions")}

    assert {where[:2] for where in cheaper} == {("static", ""), ("media", "products/")}
    for rule in cheaper.values():
        assert [each["StorageClass"] for each in rule["Transitions"]] == ["INTELLIGENT_TIERING"]
        assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] >= 30
    gone = {where[:2] for where, rule in rules.items() if {"ExpirationInDays", "ExpirationDate"} & rule.keys()}
    assert {where for where in gone if where[0] in {"static", "media"}} == {("media", "uploads/")}


@pytest.mark.parametrize("stage", STAGES)
def test_costs_were_thought_of(templates: Templates, stage: str) -> None:
    mine, sizes = of_stage(templates, stage), STAGES[stage]
    limit, nat_gateways = SPENT[stage]
    [budget] = resources(mine, "AWS::Budgets::Budget")
    [monitor] = resources(mine, "AWS::CE::AnomalyMonitor")
    [cluster] = resources(mine, CLUSTER)
    capacity = cluster.properties["ServerlessV2ScalingConfiguration"]

    assert budget.properties["Budget"]["BudgetLimit"] == {"Amount": limit, "Unit": "USD"}
    assert budget.properties["Budget"]["CostFilters"] == {"TagKeyValue": [f"user:stage${stage}"]}
    assert len(budget.properties["NotificationsWithSubscribers"]) == 2
    assert json.loads(monitor.properties["MonitorSpecification"])["Tags"]["Values"] == [stage]
    assert len(list(resources(mine, "AWS::EC2::NatGateway"))) == nat_gateways
    assert (capacity["MinCapacity"], capacity["MaxCapacity"]) == (sizes.smallest_acu, sizes.largest_acu)
    assert len(list(resources(mine, "AWS::EC2::VPCEndpoint"))) >= 2, "S3 and DynamoDB past the NAT"
    for table in resources(mine, TABLE):
        assert table.properties["BillingMode"] == "PAY_PER_REQUEST"
    for bucket in resources(mine, BUCKET):
        rules = bucket.properties.get("LifecycleConfiguration", {}).get("Rules", [])
        assert any(rule["Status"] == "Enabled" for rule in rules), f"{bucket} grows for ever"
    for repository in resources(mine, "AWS::ECR::Repository"):
        assert repository.properties.get("LifecyclePolicy"), f"{repository} grows for ever"
    for service in resources(mine, "AWS::ECS::Service"):
        strategy = service.properties["CapacityProviderStrategy"]
        assert any(used["CapacityProvider"] == "FARGATE_SPOT" for used in strategy), service
        begun = service.properties["DesiredCount"]
        assert begun == {"Fn::If": ["HasImage", "<AWS::NoValue>", 0]}, "it is begun by what waits"
    settings = json.loads((REPOSITORY / "zappa_settings.json").read_text())
    assert not any("provisioned_concurrency" in values for values in settings.values()), "it bills around the clock"


# --- Infrastructure as code documented -------------------------------------------------------------------------------
def test_the_infrastructure_is_documented(templates: Templates) -> None:
    found = [str(each) for each in undescribed(templates)]
    for path in sorted((REPOSITORY / "infrastructure").rglob("*.py")):
        module = ast.parse(path.read_text())
        classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
        within = [node for each in classes if not each.name.startswith("_") for node in each.body]
        public = [
            node
            for node in [module, *module.body, *within]
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and not getattr(node, "name", "").startswith("_")
        ]
        undocumented = [getattr(node, "name", "the module") for node in public if not ast.get_docstring(node)]
        found += [f"{path.name}: {name}" for name in undocumented]
    assert not found, named(found)


def undescribed(templates: Templates) -> Iterator[str]:
    """Resources and parameters that could say what they are for, and do not."""
    for resource in resources(templates, KEY, "AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"):
        if not resource.properties.get("Description"):
            yield str(resource)
    for resource in resources(templates, "AWS::EC2::SecurityGroup"):
        if not resource.properties.get("GroupDescription"):
            yield str(resource)
    for resource in resources(templates, "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
        if not resource.properties.get("AlarmDescription"):
            yield str(resource)
    for stack, template in templates.items():
        for name, parameter in template.get("Parameters", {}).items():
            if "Description" not in parameter:
                yield f"{stack}/{name} (a parameter)"


# --- Monitoring and logging enabled ----------------------------------------------------------------------------------
LOGS: Mapping[str, Check] = {
    CLUSTER: lambda has: "postgresql" in has.get("EnableCloudwatchLogsExports", []),
    "AWS::ApiGatewayV2::Stage": lambda has: has.get("AccessLogSettings"),
    "AWS::CodeBuild::Project": lambda has: has["LogsConfig"]["CloudWatchLogs"]["Status"] == "ENABLED",
    "AWS::ECS::TaskDefinition": lambda has: all(each.get("LogConfiguration") for each in has["ContainerDefinitions"]),
    "AWS::Logs::LogGroup": lambda has: 14 <= has.get("RetentionInDays", 0) <= 365,
    "AWS::StepFunctions::StateMachine": lambda has: (
        has.get("TracingConfiguration", {}).get("Enabled") and has.get("LoggingConfiguration", {}).get("Level") != "OFF"
    ),
}
# Logs about logs would never end, and what a build reads is a commit.
UNLOGGED = re.compile(r"^vibecode-(\w+-access-logs|pipeline)-\d+$")


@pytest.mark.parametrize("stage", STAGES)
def test_monitoring_and_logging_are_enabled(templates: Templates, stage: str) -> None:
    mine = of_stage(templates, stage)
    found = [str(each) for each in resources(mine, *LOGS) if not LOGS[each.type](each.properties)]
    found += [
        str(bucket)
        for bucket in resources(mine, BUCKET)
        if "LoggingConfiguration" not in bucket.properties and not UNLOGGED.match(bucket.properties["BucketName"])
    ]
    [network] = resources(mine, "AWS::EC2::VPC")
    [flows] = resources(mine, "AWS::EC2::FlowLog")
    firewalls = len(list(resources(mine, "AWS::WAFv2::WebACL")))
    delivered = json.dumps([dict(each.properties) for each in resources(mine, "AWS::Logs::DeliverySource")])
    found += [
        str(distribution)
        for distribution in resources(mine, "AWS::CloudFront::Distribution")
        if "Logging" not in distribution.properties["DistributionConfig"] and distribution.name not in delivered
    ]

    assert not found, named(found)
    assert (flows.properties["ResourceId"], flows.properties["TrafficType"]) == (f"<{network.name}>", "ALL")
    assert len(list(resources(mine, "AWS::WAFv2::LoggingConfiguration"))) == firewalls
    assert len(list(resources(mine, "AWS::CloudWatch::Dashboard"))) == 1
    assert json.loads((REPOSITORY / "zappa_settings.json").read_text())["shared"]["xray_tracing"] is True
