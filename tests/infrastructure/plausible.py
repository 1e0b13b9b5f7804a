"""What CloudFormation could make of the stacks: values as they would be in an account, by the kind of resource."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ACCOUNT, REGION = "123456789012", "eu-north-1"
PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}
# What the deployment tells a stack.
TOLD = {
    "OriginSecretSha256": f"{'0' * 64},{'1' * 64}",
    "ImageTag": "0123456789ab",
    "PoolKeys": json.dumps(
        json.dumps(
            {
                "keys": [
                    {"alg": "RS256", "e": "AQAB", "kid": "k" * 43 + "=", "kty": "RSA", "n": "n" * 342, "use": "sig"}
                    for _ in range(2)
                ]
            },
            separators=(",", ":"),
        )
    )[1:-1],  # as many and as long as Cognito's
}
# By type and attribute ("" for a Ref); {id} differs from resource to resource.
VALUES = {
    ("AWS::KMS::Key", "Arn"): f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef",
    ("AWS::EC2::Subnet", ""): "subnet-{id}",
    ("AWS::EC2::SecurityGroup", "GroupId"): "sg-{id}",
    (
        "AWS::RDS::DBCluster",
        "Endpoint.Address",
    ): f"vibecode-production-database.cluster-c{{id}}.{REGION}.rds.amazonaws.com",
    ("AWS::RDS::DBCluster", "DBClusterResourceId"): "cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    ("AWS::RDS::DBProxy", "Endpoint"): f"vibecode-production-data-proxy.proxy-c{{id}}.{REGION}.rds.amazonaws.com",
    ("AWS::RDS::DBProxy", "DBProxyArn"): f"arn:aws:rds:{REGION}:{ACCOUNT}:db-proxy:prx-{{id}}",
    (
        "AWS::ElastiCache::ServerlessCache",
        "Endpoint.Address",
    ): "vibecode-cache-abcdef.serverless.eun1.cache.amazonaws.com",
    ("AWS::Cognito::UserPool", ""): f"{REGION}_AbCdEf123",
    ("AWS::Cognito::UserPoolClient", ""): "1example{id}",
    ("AWS::CloudFront::Distribution", "DomainName"): "d111111abcdef8.cloudfront.net",
    ("AWS::ApiGatewayV2::Api", ""): "a1b2c3d4e5",
    ("AWS::EFS::FileSystem", ""): "fs-{id}",
    ("AWS::EFS::FileSystem", "Arn"): f"arn:aws:elasticfilesystem:{REGION}:{ACCOUNT}:file-system/fs-{{id}}",
    ("AWS::EFS::AccessPoint", ""): "fsap-{id}",
    ("AWS::EFS::AccessPoint", "Arn"): f"arn:aws:elasticfilesystem:{REGION}:{ACCOUNT}:access-point/fsap-{{id}}",
    ("AWS::ECR::Repository", "Arn"): f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/vibecode",
    ("AWS::Logs::LogGroup", "Arn"): f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{name}}:*",
    ("AWS::IAM::Role", "Arn"): f"arn:aws:iam::{ACCOUNT}:role/{{name}}",
    ("AWS::S3::Bucket", ""): "{name}",
    ("AWS::SecretsManager::Secret", ""): f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{{name}}-AbCdEf",
    ("AWS::Cognito::UserPoolDomain", ""): "{name}",
}
NAMES = ("RoleName", "BucketName", "Name", "LogGroupName", "Domain")

type Template = Mapping[str, Any]


class Plausible:
    """Values of templates, whose imports are found among the other stacks."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self.exports = {
            self.value(template, output["Export"]["Name"]): (template, output["Value"])
            for template in templates.values()
            for output in template.get("Outputs", {}).values()
            if "Export" in output
        }

    def value(self, template: Template, value: Any) -> Any:
        """A value with every function of CloudFormation's carried out. A KeyError names what is not known here."""
        if isinstance(value, list):
            return [self.value(template, each) for each in value]
        if not isinstance(value, dict):
            return value
        function: str
        given: Any
        function, given = next(iter(value.items())) if len(value) == 1 else ("", None)
        match function:
            case "Ref":
                return PSEUDO.get(given) or self._told(template, given) or self._attribute(template, given, "")
            case "Fn::GetAtt":
                return self._attribute(template, *given)
            case "Fn::ImportValue":
                return self.value(*self.exports[given])
            case "Fn::Join":
                return given[0].join(self.value(template, given[1]))
            case "Fn::Split":
                return self.value(template, given[1]).split(given[0])
            case "Fn::Select":
                return self.value(template, given[1])[int(given[0])]
        return {name: self.value(template, each) for name, each in value.items()}

    def _told(self, template: Template, name: str) -> str:
        parameter = template.get("Parameters", {}).get(name)
        return "" if parameter is None else str(TOLD.get(name) or parameter.get("Default"))

    def _attribute(self, template: Template, name: str, attribute: str) -> str:
        resource = template["Resources"][name]
        properties = resource.get("Properties", {})
        known = next((properties[key] for key in NAMES if key in properties), "")
        return VALUES[resource["Type"], attribute].format(
            id=hashlib.sha256(name.encode()).hexdigest()[:17], name=self.value(template, known)
        )
