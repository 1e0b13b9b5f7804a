"""What the values of synthesized templates come to: names and ARNs in place of Ref, Fn::GetAtt and their like.

Called by policies.py. What it does not know it refuses to guess: a name that is wrong would prove nothing.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infrastructure.config import EDGE_REGION, REGION
from vibecode.resources import LOCAL_ACCOUNT, PROJECT

EDGE_STACK = "-worldwide"  # how the names of stacks end that stand in EDGE_REGION

type Template = Mapping[str, Any]


class CannotTell(Exception):
    """A template or a policy says something that is not understood here; nothing can be proved of it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a type of resource is called: the property with its name, its ARN, and what Ref gives (its name, mostly)."""

    named_by: str
    arn: str
    ref: str = "{name}"


def _kind(named_by: str, service: str, what: str, ref: str = "{name}") -> Kind:
    """Its ARN has region and account, as most have."""
    return Kind(named_by, f"arn:aws:{service}:{{region}}:{{account}}:{what}", ref)


# Only what stands in policies. https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html
KINDS: Mapping[str, Kind] = {
    "AWS::ApiGatewayV2::Api": Kind("", "arn:aws:apigateway:{region}::/apis/{name}"),
    "AWS::Backup::BackupVault": _kind("BackupVaultName", "backup", "backup-vault:{name}"),
    "AWS::CloudFront::Distribution": Kind("", "arn:aws:cloudfront::{account}:distribution/{name}"),
    "AWS::CloudWatch::Alarm": _kind("AlarmName", "cloudwatch", "alarm:{name}"),
    "AWS::CodeBuild::Project": _kind("Name", "codebuild", "project/{name}"),
    "AWS::CodeConnections::Connection": _kind("ConnectionName", "codeconnections", "connection/{name}"),
    "AWS::CodePipeline::Pipeline": _kind("Name", "codepipeline", "{name}"),
    "AWS::Cognito::IdentityPool": _kind("", "cognito-identity", "identitypool/{name}"),
    "AWS::Cognito::UserPool": _kind("", "cognito-idp", "userpool/{name}"),
    "AWS::DynamoDB::GlobalTable": _kind("TableName", "dynamodb", "table/{name}"),
    "AWS::ECR::Repository": _kind("RepositoryName", "ecr", "repository/{name}"),
    "AWS::ECS::Cluster": _kind("ClusterName", "ecs", "cluster/{name}"),
    "AWS::ECS::TaskDefinition": _kind("Family", "ecs", "task-definition/{name}", "{arn}"),
    "AWS::EFS::AccessPoint": _kind("", "elasticfilesystem", "access-point/{name}"),
    "AWS::EFS::FileSystem": _kind("", "elasticfilesystem", "file-system/{name}"),
    "AWS::ElastiCache::ServerlessCache": _kind("ServerlessCacheName", "elasticache", "serverlesscache:{name}"),
    "AWS::Events::EventBus": _kind("Name", "events", "event-bus/{name}"),
    "AWS::Events::Rule": _kind("Name", "events", "rule/{name}"),
    "AWS::IAM::ManagedPolicy": Kind("ManagedPolicyName", "arn:aws:iam::{account}:policy/{name}", "{arn}"),
    "AWS::IAM::Role": Kind("RoleName", "arn:aws:iam::{account}:role/{name}"),
    "AWS::KMS::Key": _kind("", "kms", "key/{name}"),
    "AWS::Lambda::Function": _kind("FunctionName", "lambda", "function:{name}"),
    "AWS::Logs::LogGroup": _kind("LogGroupName", "logs", "log-group:{name}:*"),
    "AWS::RDS::DBCluster": _kind("DBClusterIdentifier", "rds", "cluster:{name}"),
    "AWS::RDS::DBProxy": _kind("", "rds", "db-proxy:{name}"),
    "AWS::S3::Bucket": Kind("BucketName", "arn:aws:s3:::{name}"),
    "AWS::SES::ConfigurationSet": _kind("Name", "ses", "configuration-set/{name}"),
    "AWS::SES::EmailIdentity": _kind("EmailIdentity", "ses", "identity/{name}"),
    "AWS::SNS::Topic": _kind("TopicName", "sns", "{name}", "{arn}"),
    "AWS::SQS::Queue": _kind("QueueName", "sqs", "{name}", "https://sqs.{region}.amazonaws.com/{account}/{name}"),
    "AWS::SSM::Parameter": _kind("Name", "ssm", "parameter/{bare}"),
    "AWS::SecretsManager::Secret": _kind("Name", "secretsmanager", "secret:{name}-Suffix", "{arn}"),
    "AWS::StepFunctions::StateMachine": _kind("StateMachineName", "states", "stateMachine:{name}", "{arn}"),
}  # fmt: skip
ARNS = {"Arn", "ARN", "ConnectionArn", "DBClusterArn", "DBProxyArn", "BackupVaultArn", "TopicArn"}
NAMES = {
    "Name",
    "QueueName",
    "TopicName",
    "TableName",
    "UserPoolId",
    "BackupVaultName",
    "KeyId",
    "FileSystemId",
    "ApiId",
}
PSEUDO = {"AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com", "AWS::AccountId": LOCAL_ACCOUNT}


@dataclass(frozen=True)
class Templates:
    """All templates, each by its stack's name."""

    by_stack: Mapping[str, Template]

    def of(self, stage: str) -> list[str]:
        """The stacks of a stage, by name."""
        return [stack for stack in self.by_stack if stack.startswith(f"{PROJECT}-{stage}-")]

    def resources(self, stack: str, *types: str) -> dict[str, dict[str, Any]]:
        """The resources of these types in a stack, by their logical id."""
        return {name: made for name, made in self.by_stack[stack]["Resources"].items() if made["Type"] in types}

    def ref(self, stack: str, logical_id: str) -> str:
        """What Ref gives for a resource."""
        return self._described(stack, logical_id, lambda kind: kind.ref)

    def arn(self, stack: str, logical_id: str) -> str:
        """A resource's ARN."""
        return self._described(stack, logical_id, lambda kind: kind.arn)

    def value(self, stack: str, said: Any) -> Any:
        """What stands there once CloudFormation has put in all names. Raises CannotTell."""
        if isinstance(said, list):
            return [self.value(stack, each) for each in said]
        if not isinstance(said, dict):
            return said
        if len(said) != 1 or not (name := next(iter(said))).startswith(("Ref", "Fn::")):
            return {key: self.value(stack, each) for key, each in said.items()}
        return self._called(stack, name, said[name])

    def _called(self, stack: str, name: str, given: Any) -> Any:
        match name:
            case "Ref":
                return self._referred(stack, given)
            case "Fn::GetAtt":
                which = given if isinstance(given, list) else given.split(".", 1)
                return self._attribute(stack, *which)
            case "Fn::Join":
                return str(given[0]).join(self.value(stack, given[1]))
            case "Fn::Sub":
                text, more = (given[0], given[1]) if isinstance(given, list) else (given, {})
                return self._substituted(stack, text, more)
            case "Fn::Select":
                return self.value(stack, given[1])[int(given[0])]
            case "Fn::Split":
                return str(self.value(stack, given[1])).split(given[0])
            case "Fn::ImportValue":
                return self._imported(str(self.value(stack, given)))
        raise CannotTell(f"{stack}: what {name} gives is not known here")

    def _referred(self, stack: str, name: str) -> str:
        if name in PSEUDO:
            return PSEUDO[name]
        if name == "AWS::Region":
            return region_of(stack)
        if name == "AWS::StackName":
            return stack
        if name in self.by_stack[stack].get("Parameters", {}):
            declared = self.by_stack[stack]["Parameters"][name]
            if "Default" not in declared:
                raise CannotTell(f"{stack}: the parameter {name} has no value here")
            return str(declared["Default"])
        return self.ref(stack, name)

    def _attribute(self, stack: str, logical_id: str, attribute: str) -> str:
        if attribute in ARNS:
            return self.arn(stack, logical_id)
        if attribute in NAMES:
            return self._described(stack, logical_id, lambda _: "{name}")
        if (
            attribute == "DBClusterResourceId"
        ):  # https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.IAMPolicy.html
            return f"cluster-{logical_id}"
        if attribute == "MasterUserSecret.SecretArn":
            return f"arn:aws:secretsmanager:{region_of(stack)}:{LOCAL_ACCOUNT}:secret:rds!cluster-{logical_id}"
        raise CannotTell(f"{stack}: what {attribute} of {logical_id} is, is not known here")

    def _substituted(self, stack: str, text: str, more: Mapping[str, Any]) -> str:
        def put_in(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):  # ${!x} is written as ${x}
                return "${" + name[1:] + "}"
            if name in more:
                return str(self.value(stack, more[name]))
            return self._attribute(stack, *name.split(".", 1)) if "." in name else self._referred(stack, name)

        return re.sub(r"\$\{([^}]+)\}", put_in, text)

    def _imported(self, wanted: str) -> Any:
        for stack, template in self.by_stack.items():
            for output in template.get("Outputs", {}).values():
                if "Export" in output and self.value(stack, output["Export"]["Name"]) == wanted:
                    return self.value(stack, output["Value"])
        raise CannotTell(f"No stack exports {wanted}")

    def _described(self, stack: str, logical_id: str, pattern: Any) -> str:
        made = self.by_stack[stack]["Resources"].get(logical_id)
        if made is None:
            raise CannotTell(f"{stack} has no {logical_id}")
        kind = KINDS.get(made["Type"])
        if kind is None:
            raise CannotTell(
                f"{stack}: what a {made['Type']} is called ({logical_id}) is not known here: add it to KINDS"
            )
        given = made.get("Properties", {}).get(kind.named_by)
        # Without a name CloudFormation makes one of the stack's name, the logical id and chance.
        name = str(self.value(stack, given)) if given else f"{stack}-{logical_id}"
        known = {"region": region_of(stack), "account": LOCAL_ACCOUNT, "name": name, "bare": name.lstrip("/")}
        arn = kind.arn.format(**known)
        return str(pattern(kind)).format(**known, arn=arn)


def region_of(stack: str) -> str:
    """Where a stack stands."""
    return EDGE_REGION if stack.endswith(EDGE_STACK) else REGION
