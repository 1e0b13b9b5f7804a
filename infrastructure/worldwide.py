"""What CloudFront reads in us-east-1, wherever the stage is: its firewall, its certificate, its function at the origin.

The front is told their ARNs as parameters: CloudFormation knows no references from region to region.
"""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from infrastructure import firewall
from infrastructure.config import Stage
from infrastructure.parts import RETENTION, accept, zone_of

FUNCTIONS = Path(__file__).resolve().parent / "functions"

# Requests of one address in five minutes, but for files: twice of what the app lets one who signed in ask.
RATE = 6000
FILES = r"^/(static|media)/"


class Worldwide(cdk.Stack):
    """Stands in us-east-1."""

    def __init__(self, scope: Construct, name: str, *, stage: Stage, **stack: Any) -> None:
        super().__init__(scope, name, **stack)
        cdk.CfnOutput(self, "WebAclArn", value=self._firewall(stage).attr_arn, description="CloudFront's firewall")
        challenge = self._challenge(stage)
        cdk.CfnOutput(self, "ChallengeArn", value=challenge.function_arn, description="CloudFront's Lambda@Edge")
        if stage.domain:
            certificate = acm.Certificate(
                self,
                "Certificate",
                domain_name=stage.domain,
                validation=acm.CertificateValidation.from_dns(zone_of(self, stage)),
            )
            cdk.CfnOutput(self, "CertificateArn", value=certificate.certificate_arn, description=f"Of {stage.domain}")

    # --- the firewall ------------------------------------------------------------------------------------------------
    def _firewall(self, stage: Stage) -> waf.CfnWebACL:
        made = firewall.web_acl(
            self,
            "Firewall",
            name=stage.prefix,
            where="CLOUDFRONT",
            rules=[
                firewall.rate(RATE, but=FILES),
                *(firewall.group_of_aws(priority, name) for priority, name in enumerate(firewall.REFUSED, start=1)),
            ],
        )
        group = logs.LogGroup(
            self,
            "FirewallLogs",
            log_group_name=f"aws-waf-logs-{stage.prefix}",  # AWS asks for this beginning
            retention=RETENTION[stage.log_days],
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        accept(group, {"CloudWatchLogGroupEncrypted": "By CloudWatch's own key: the stage's is in another region"})
        firewall.log_refusals(self, "FirewallLogging", made, group)
        return made

    # --- the function at the origin ----------------------------------------------------------------------------------
    def _challenge(self, stage: Stage) -> lambda_.Version:
        """Gives a 401 its challenge back: CloudFront calls its own functions for no answer of 400 or more.

        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/edge-function-restrictions-all.html
        """
        role = iam.Role(
            self,
            "ChallengeRole",
            role_name=f"{stage.prefix}-challenge",
            # It says nothing, and so may write no log in any of AWS's regions: it may do nothing at all.
            assumed_by=iam.CompositePrincipal(
                iam.ServicePrincipal("lambda.amazonaws.com"), iam.ServicePrincipal("edgelambda.amazonaws.com")
            ),
        )
        function = lambda_.Function(
            self,
            "Challenge",
            function_name=f"{stage.prefix}-challenge",
            description="Gives a 401 the WWW-Authenticate back that API Gateway renames",
            runtime=lambda_.Runtime.NODEJS_24_X,
            architecture=lambda_.Architecture.X86_64,  # the only one at the edge
            handler="index.handler",
            code=lambda_.Code.from_inline((FUNCTIONS / "challenge.js").read_text()),
            memory_size=128,
            timeout=cdk.Duration.seconds(1),
            role=role,
            current_version_options=lambda_.VersionOptions(
                removal_policy=cdk.RemovalPolicy.RETAIN  # its copies at the edge go hours after nobody uses them
            ),
        )
        accept(
            function,
            {
                "LambdaConcurrency": "Lambda@Edge takes no reserved concurrency",
                "LambdaDLQ": "CloudFront waits for its answer: no event is left over",
                "LambdaInsideVPC": "Lambda@Edge runs in no VPC; it asks nobody anything",
            },
        )
        return function.current_version
