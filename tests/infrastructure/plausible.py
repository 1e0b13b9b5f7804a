"""What CloudFormation could make of the stacks: values as they would be in an account, by the kind of resource."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from infrastructure import config
from infrastructure.privilege.templates import Templates
from vibecode.resources import LOCAL_ACCOUNT

ACCOUNT, REGION = LOCAL_ACCOUNT, config.REGION
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
# By type and attribute ("" for a Ref), where AWS gives more than our name; {id} differs from resource to resource.
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
    ("AWS::EFS::AccessPoint", ""): "fsap-{id}",
    ("AWS::Cognito::UserPoolDomain", ""): "{name}",
}

type Template = Mapping[str, Any]


class Plausible:
    """Values of templates, whose imports are found among the other stacks."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._values = Values(templates)
        self._stacks = {id(template): stack for stack, template in templates.items()}

    def value(self, template: Template, value: Any) -> Any:
        """A value of one of them with every function of CloudFormation's carried out. Raises CannotTell."""
        return self._values.value(self._stacks[id(template)], value)


class Values(Templates):
    """As the proof of permissions reads them, with ids of the form and the length that AWS gives."""

    def ref(self, stack: str, logical_id: str) -> str:
        return self._plausible(stack, logical_id, "") or super().ref(stack, logical_id)

    def _referred(self, stack: str, name: str) -> str:
        return TOLD.get(name) or super()._referred(stack, name)

    def _attribute(self, stack: str, logical_id: str, attribute: str) -> str:
        return self._plausible(stack, logical_id, attribute) or super()._attribute(stack, logical_id, attribute)

    def _plausible(self, stack: str, logical_id: str, attribute: str) -> str:
        resource = self.by_stack[stack]["Resources"][logical_id]
        name = self.value(stack, resource.get("Properties", {}).get("Domain", ""))
        made = hashlib.sha256(logical_id.encode()).hexdigest()[:17]
        return VALUES.get((resource["Type"], attribute), "").format(id=made, name=name)
