"""What CloudFront reads in us-east-1, wherever the stage is: its firewall, its certificate, its function at the origin.

The front is told their ARNs as parameters: CloudFormation knows no references from region to region.
"""

import json
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from infrastructure.config import Stage
from infrastructure.parts import RETENTION, accept, zone_of

FUNCTIONS = Path(__file__).resolve().parent / "functions"

# Requests of one address in five minutes, but for files: twice of what the app lets one who signed in ask.
RATE, WINDOW = 6000, 300
FILES = r"^/(static|media)/"

# AWS's groups of rules, and what of them only counts. Bodies are an order of a thousand lines, a description in HTML, a
# webhook's address or a table pasted into a form; the app reads them by serializers and asks with parameters, so that
# what looks odd in one is no attack. Files go straight to S3. Programs that say no name are welcome too.
# https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-list.html
GROUPS = {
    "AWSManagedRulesAmazonIpReputationList": (),
    "AWSManagedRulesKnownBadInputsRuleSet": (),
    "AWSManagedRulesCommonRuleSet": (
        "NoUserAgent_HEADER",
        "SizeRestrictions_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
        "CrossSiteScripting_BODY",
    ),
    "AWSManagedRulesSQLiRuleSet": ("SQLi_BODY", "SQLiExtendedPatterns_BODY"),
}
TOO_MANY = {
    "type": "about:blank",
    "title": "Too Many Requests",
    "status": 429,
    "detail": "Too many requests come from this address. Wait a minute.",
    "code": "rate-limited",
    "success": False,
    "error": "Too Many Requests",
}


class Worldwide(cdk.Stack):
    """Stands in us-east-1."""

    def __init__(self, scope: Construct, name: str, *, stage: Stage, **stack: Any) -> None:
        super().__init__(scope, name, **stack)
        firewall = self._firewall(stage)
        self._log(stage, firewall)
        cdk.CfnOutput(self, "WebAclArn", value=firewall.attr_arn, description="CloudFront's firewall")
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
        return waf.CfnWebACL(
            self,
            "Firewall",
            name=stage.prefix,
            scope="CLOUDFRONT",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_seen(stage.prefix),
            rules=[_rate(), *(_group(priority, name) for priority, name in enumerate(GROUPS, start=1))],
            custom_response_bodies={
                "too-many": waf.CfnWebACL.CustomResponseBodyProperty(
                    content=json.dumps(TOO_MANY), content_type="APPLICATION_JSON"
                )
            },
        )

    def _log(self, stage: Stage, firewall: waf.CfnWebACL) -> None:
        """What was refused, and what only counted; nobody's token and nobody's session."""
        group = logs.LogGroup(
            self,
            "FirewallLogs",
            log_group_name=f"aws-waf-logs-{stage.prefix}",  # AWS asks for this beginning
            retention=RETENTION[stage.log_days],
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )
        accept(group, {"CloudWatchLogGroupEncrypted": "By CloudWatch's own key: the stage's is in another region"})
        kept = [{"ActionCondition": {"Action": action}} for action in ("BLOCK", "COUNT")]
        waf.CfnLoggingConfiguration(
            self,
            "FirewallLogging",
            resource_arn=firewall.attr_arn,
            # The group's own ARN ends with `:*`, which the firewall takes for another's.
            log_destination_configs=[f"arn:aws:logs:{self.region}:{self.account}:log-group:{group.log_group_name}"],
            redacted_fields=[
                waf.CfnLoggingConfiguration.FieldToMatchProperty(single_header={"Name": header})
                for header in ("authorization", "cookie")
            ],
            logging_filter={
                "DefaultBehavior": "DROP",
                "Filters": [{"Behavior": "KEEP", "Requirement": "MEETS_ANY", "Conditions": kept}],
            },
        )

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


def _seen(metric: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    # Samples would show what the log leaves out.
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=metric, sampled_requests_enabled=False
    )


def _rate() -> waf.CfnWebACL.RuleProperty:
    files = waf.CfnWebACL.StatementProperty(
        regex_match_statement=waf.CfnWebACL.RegexMatchStatementProperty(
            field_to_match=waf.CfnWebACL.FieldToMatchProperty(uri_path={}),
            regex_string=FILES,
            text_transformations=[waf.CfnWebACL.TextTransformationProperty(priority=0, type="NONE")],
        )
    )
    return waf.CfnWebACL.RuleProperty(
        name="rate",
        priority=0,
        statement=waf.CfnWebACL.StatementProperty(
            rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(
                aggregate_key_type="IP",
                limit=RATE,
                evaluation_window_sec=WINDOW,
                scope_down_statement=waf.CfnWebACL.StatementProperty(
                    not_statement=waf.CfnWebACL.NotStatementProperty(statement=files)
                ),
            )
        ),
        action=waf.CfnWebACL.RuleActionProperty(
            block=waf.CfnWebACL.BlockActionProperty(
                custom_response=waf.CfnWebACL.CustomResponseProperty(
                    response_code=429,
                    custom_response_body_key="too-many",
                    response_headers=[waf.CfnWebACL.CustomHTTPHeaderProperty(name="Retry-After", value="60")],
                )
            )
        ),
        visibility_config=_seen("rate"),
    )


def _group(priority: int, name: str) -> waf.CfnWebACL.RuleProperty:
    counting = waf.CfnWebACL.RuleActionProperty(count={})
    return waf.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        statement=waf.CfnWebACL.StatementProperty(
            managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                vendor_name="AWS",
                name=name,
                rule_action_overrides=[
                    waf.CfnWebACL.RuleActionOverrideProperty(name=rule, action_to_use=counting) for rule in GROUPS[name]
                ],
            )
        ),
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        visibility_config=_seen(name),
    )
