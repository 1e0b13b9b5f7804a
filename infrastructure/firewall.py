"""Web ACLs: CloudFront's (worldwide.py) and the pool's (identity.py). Their rules, what they say, what of it is logged.

What a rule refuses gets a JSON body of ours, with AWS's own content type: a web ACL knows `application/json` and lets
nobody say another, and can put no request's id into it (docs/decisions/0022-front.md).
"""

import json
from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

# AWS's groups of rules, and what of each is refused in our words and what only counts. Bodies are an order of a
# thousand lines, a description in HTML, a webhook's address or a table pasted into a form; the app reads them by
# serializers and asks with parameters, so that what looks odd in one is no attack. Files go straight to S3. Programs
# that say no name are welcome too. A rule that AWS adds is refused in AWS's words until it is named here.
# https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-list.html
REPUTATION = "AWSManagedRulesAmazonIpReputationList"
REFUSED: Mapping[str, Sequence[str]] = {
    REPUTATION: ("AWSManagedIPReputationList", "AWSManagedReconnaissanceList"),
    "AWSManagedRulesKnownBadInputsRuleSet": (
        "JavaDeserializationRCE_HEADER", "JavaDeserializationRCE_BODY", "JavaDeserializationRCE_URIPATH",
        "JavaDeserializationRCE_QUERYSTRING", "Host_localhost_HEADER", "PROPFIND_METHOD", "ExploitablePaths_URIPATH",
        "Log4JRCE_HEADER", "Log4JRCE_BODY", "Log4JRCE_URIPATH", "Log4JRCE_QUERYSTRING",
    ),
    "AWSManagedRulesCommonRuleSet": (
        "UserAgent_BadBots_HEADER", "SizeRestrictions_QUERYSTRING", "SizeRestrictions_Cookie_HEADER",
        "SizeRestrictions_URIPATH", "EC2MetaDataSSRF_BODY", "EC2MetaDataSSRF_COOKIE", "EC2MetaDataSSRF_URIPATH",
        "EC2MetaDataSSRF_QUERYARGUMENTS", "GenericLFI_QUERYARGUMENTS", "GenericLFI_URIPATH",
        "RestrictedExtensions_URIPATH", "RestrictedExtensions_QUERYARGUMENTS", "GenericRFI_QUERYARGUMENTS",
        "GenericRFI_URIPATH", "CrossSiteScripting_COOKIE", "CrossSiteScripting_QUERYARGUMENTS",
        "CrossSiteScripting_URIPATH",
    ),
    "AWSManagedRulesSQLiRuleSet": ("SQLi_QUERYARGUMENTS", "SQLiExtendedPatterns_QUERYARGUMENTS", "SQLi_COOKIE"),
}  # fmt: skip
COUNTED: Mapping[str, Sequence[str]] = {
    "AWSManagedRulesCommonRuleSet": (
        "NoUserAgent_HEADER", "SizeRestrictions_BODY", "GenericLFI_BODY", "GenericRFI_BODY", "CrossSiteScripting_BODY",
    ),
    "AWSManagedRulesSQLiRuleSet": ("SQLi_BODY", "SQLiExtendedPatterns_BODY"),
}  # fmt: skip
WINDOW = 300  # seconds in which an address's requests are counted
ANSWERS = {
    "too-many": (429, "Too Many Requests", "rate-limited", "Too many requests come from this address. Wait a minute."),
    "refused": (403, "Forbidden", "forbidden", "The request looks like an attack."),
}
# A page of another origin may read why, where no preflight was refused before. Of headers a web ACL has 100:
# https://docs.aws.amazon.com/waf/latest/developerguide/limits.html
FOR_BROWSERS = {"Access-Control-Allow-Origin": "*"}


def web_acl(
    scope: Construct, construct_id: str, *, name: str, where: str, rules: Sequence[waf.CfnWebACL.RuleProperty]
) -> waf.CfnWebACL:
    """A firewall that lets through whom no rule refuses; ``where`` is CLOUDFRONT or REGIONAL."""
    return waf.CfnWebACL(
        scope,
        construct_id,
        name=name,
        scope=where,
        default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
        visibility_config=_seen(name),
        rules=list(rules),
        custom_response_bodies={
            key: waf.CfnWebACL.CustomResponseBodyProperty(content=_problem(*said), content_type="APPLICATION_JSON")
            for key, said in ANSWERS.items()
        },
    )


def log_refusals(scope: Construct, construct_id: str, made: waf.CfnWebACL, group: logs.LogGroup) -> None:
    """What was refused, and what only counted; nobody's token and nobody's session."""
    stack = cdk.Stack.of(scope)
    kept = [{"ActionCondition": {"Action": action}} for action in ("BLOCK", "COUNT")]
    waf.CfnLoggingConfiguration(
        scope,
        construct_id,
        resource_arn=made.attr_arn,
        # The group's own ARN ends with `:*`, which the firewall takes for another's.
        log_destination_configs=[f"arn:aws:logs:{stack.region}:{stack.account}:log-group:{group.log_group_name}"],
        redacted_fields=[
            waf.CfnLoggingConfiguration.FieldToMatchProperty(single_header={"Name": header})
            for header in ("authorization", "cookie")
        ],
        logging_filter={
            "DefaultBehavior": "DROP",
            "Filters": [{"Behavior": "KEEP", "Requirement": "MEETS_ANY", "Conditions": kept}],
        },
    )


def let_in(addresses: str) -> waf.CfnWebACL.RuleProperty:
    """Lets in an IP set, by its ARN, before any other rule is asked."""
    return waf.CfnWebACL.RuleProperty(
        name="own",
        priority=0,
        statement=waf.CfnWebACL.StatementProperty(
            ip_set_reference_statement=waf.CfnWebACL.IPSetReferenceStatementProperty(arn=addresses)
        ),
        action=waf.CfnWebACL.RuleActionProperty(allow={}),
        visibility_config=_seen("own"),
    )


def rate(most: int, *, but: str = "", priority: int = 0) -> waf.CfnWebACL.RuleProperty:
    """Refuses an address that asks more often within the window; ``but`` is a pattern of paths that do not count."""
    scope_down = None
    if but:
        left_out = waf.CfnWebACL.StatementProperty(
            regex_match_statement=waf.CfnWebACL.RegexMatchStatementProperty(
                field_to_match=waf.CfnWebACL.FieldToMatchProperty(uri_path={}),
                regex_string=but,
                text_transformations=[waf.CfnWebACL.TextTransformationProperty(priority=0, type="NONE")],
            )
        )
        scope_down = waf.CfnWebACL.StatementProperty(
            not_statement=waf.CfnWebACL.NotStatementProperty(statement=left_out)
        )
    return waf.CfnWebACL.RuleProperty(
        name="rate",
        priority=priority,
        statement=waf.CfnWebACL.StatementProperty(
            rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(
                aggregate_key_type="IP", limit=most, evaluation_window_sec=WINDOW, scope_down_statement=scope_down
            )
        ),
        action=_refusal("too-many", {"Retry-After": "60", "Access-Control-Expose-Headers": "Retry-After"}),
        visibility_config=_seen("rate"),
    )


def group_of_aws(priority: int, name: str) -> waf.CfnWebACL.RuleProperty:
    """One of AWS's groups: what it refuses by its own default it refuses in our words, or only counts."""
    actions = [(rule, _refusal("refused")) for rule in REFUSED[name]]
    actions += [(rule, waf.CfnWebACL.RuleActionProperty(count={})) for rule in COUNTED.get(name, ())]
    return waf.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        statement=waf.CfnWebACL.StatementProperty(
            managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                vendor_name="AWS",
                name=name,
                rule_action_overrides=[
                    waf.CfnWebACL.RuleActionOverrideProperty(name=rule, action_to_use=action)
                    for rule, action in actions
                ],
            )
        ),
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        visibility_config=_seen(name),
    )


def _seen(metric: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    # Samples would show what the log leaves out.
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=metric, sampled_requests_enabled=False
    )


def _refusal(key: str, headers: Mapping[str, str] | None = None) -> waf.CfnWebACL.RuleActionProperty:
    all_of_them = {**FOR_BROWSERS, **(headers or {})}
    said = [waf.CfnWebACL.CustomHTTPHeaderProperty(name=name, value=value) for name, value in all_of_them.items()]
    return waf.CfnWebACL.RuleActionProperty(
        block=waf.CfnWebACL.BlockActionProperty(
            custom_response=waf.CfnWebACL.CustomResponseProperty(
                response_code=ANSWERS[key][0], custom_response_body_key=key, response_headers=said
            )
        )
    )


def _problem(status: int, title: str, code: str, detail: str) -> str:
    """RFC 9457, as vibecode.problems says it."""
    return json.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            "success": False,
            "error": title,
        }
    )
