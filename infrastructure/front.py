"""The stage's one public address: CloudFront before the API and the two buckets, which nobody reads but through it.

Deployed before Zappa, as all else is told the address, and once more after Zappa's first `deploy`, with its API
(ApiDomain). vibecode/local/public_origin.py is the same on this machine. Longer than most modules: the buckets stand
with the distribution, as their policies name it and it names them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infrastructure.config import Stage
from infrastructure.parts import accept, forgetting, private_bucket, zone_of
from vibecode.resources import Resources, bucket_cors, bucket_lifecycle

STRIP = Path(__file__).resolve().parent / "functions" / "strip.js"
NO_API = "pending.invalid"
PICTURES = "products/"  # of the media bucket, what CloudFront may read
YEAR = cdk.Duration.days(365)
# What a client sees of these is the API's and nobody's memory of it.
ERRORS = (400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504)


class Front(cdk.Stack):
    """The buckets outlive their stack."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stage: Stage,
        resources: Resources,
        key: kms.IKey,
        access_logs: str,
        **stack: Any,
    ) -> None:
        """``access_logs`` is the name of the bucket that the buckets' own logs go to."""
        super().__init__(scope, name, **stack)
        self._names = {kind: f"{resources.prefix}-{kind}-{self.account}" for kind in ("static", "media")}
        self.media_bucket = self._names["media"]
        self._logs = s3.Bucket.from_bucket_name(self, "AccessLogs", access_logs)
        self.secret = self._secret(resources, key)
        distribution = self._distribution(stage)
        self.public_url = f"https://{stage.domain or distribution.distribution_domain_name}"
        # Others import it, and cannot let go of it in the one step in which a stage gets a domain.
        self.export_value(distribution.distribution_domain_name)
        self._may_read(distribution, self._static(), "*")
        self._may_read(distribution, self._media(stage, key), f"{PICTURES}*")
        if stage.domain:
            self._name(stage, distribution)
        for output, value in {
            "PublicUrl": self.public_url,
            "DistributionId": distribution.distribution_id,
            "StaticBucket": self._names["static"],
            "MediaBucket": self.media_bucket,
            "OriginSecretArn": self.secret.ref,
        }.items():
            cdk.CfnOutput(self, output, value=value)

    # --- the buckets -------------------------------------------------------------------------------------------------
    def _static(self) -> s3.Bucket:
        """Files of releases: a page of the last one may still ask for its own."""
        bucket = private_bucket(
            self,
            "Static",
            self._names["static"],
            lifecycle_rules=[_cheaper(kept=90)],
            server_access_logs_bucket=self._logs,
            server_access_logs_prefix="static/",
        )
        accept(
            bucket,
            {
                "S3DefaultEncryptionKMS": "Everybody may read these files: S3's own key is enough",
                "S3BucketReplicationEnabled": "They are in every package, and are put there by every release",
            },
        )
        return bucket

    def _media(self, stage: Stage, key: kms.IKey) -> s3.Bucket:
        """Pictures for everybody, and below uploads/ what is for some: the stage's key, and S3 forgets it in a day."""
        bucket = private_bucket(
            self,
            "Media",
            self._names["media"],
            key=key,
            cors=[_cors(rule) for rule in bucket_cors([self.public_url, *stage.front_ends])],
            lifecycle_rules=[*(_lifecycle(rule) for rule in bucket_lifecycle()), _cheaper(PICTURES, kept=30)],
            server_access_logs_bucket=self._logs,
            server_access_logs_prefix="media/",
        )
        accept(
            bucket,
            {"S3BucketReplicationEnabled": "Versions keep what is deleted; the catalogue sells without its pictures"},
        )
        return bucket

    def _may_read(self, distribution: cloudfront.Distribution, bucket: s3.Bucket, keys: str) -> None:
        """No s3:ListBucket: / would be the list of all. What is missing is a 403 therefore."""
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="CloudFrontReads",
                actions=["s3:GetObject"],
                principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
                resources=[bucket.arn_for_objects(keys)],
                conditions={"StringEquals": {"aws:SourceArn": distribution.distribution_arn}},
            )
        )

    # --- CloudFront --------------------------------------------------------------------------------------------------
    def _distribution(self, stage: Stage) -> cloudfront.Distribution:
        strip = cloudfront.Function(
            self,
            "Strip",
            function_name=f"{stage.prefix}-strip",
            comment="Takes /static or /media off",
            code=cloudfront.FunctionCode.from_file(file_path=str(STRIP)),
            runtime=cloudfront.FunctionRuntime.JS_2_0,
        )
        headers = self._headers(stage)
        api = self._api(stage, headers)
        distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=stage.prefix,
            default_behavior=cloudfront.BehaviorOptions(
                **api, viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS
            ),
            additional_behaviors={
                "/static/*": self._files("static", strip, headers),
                "/media/*": self._files("media", strip, headers),
                "/api/*": cloudfront.BehaviorOptions(
                    **api,
                    viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,  # a token was told to everybody
                    edge_lambdas=[
                        cloudfront.EdgeLambda(
                            event_type=cloudfront.LambdaEdgeEventType.ORIGIN_RESPONSE,
                            function_version=lambda_.Version.from_version_arn(
                                self, "Challenge", self._told("ChallengeArn", "Of the stack worldwide")
                            ),
                        )
                    ],
                ),
            },
            error_responses=[cloudfront.ErrorResponse(http_status=n, ttl=cdk.Duration.seconds(0)) for n in ERRORS],
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=cloudfront.PriceClass.PRICE_CLASS_100,  # Europe and North America
            web_acl_id=self._told("WebAclArn", "Of the stack worldwide"),
            log_bucket=self._log_bucket(stage),
            log_includes_cookies=False,
            **self._certificate(stage),
        )
        accept(
            distribution,
            {
                "CFR1": "The shop sells to every country",
                **(
                    {}
                    if stage.domain
                    else {"CFR4": "CloudFront's own certificate allows no choice; a domain has TLS 1.2"}
                ),
            },
        )
        return distribution

    def _api(self, stage: Stage, headers: cloudfront.ResponseHeadersPolicy) -> dict[str, Any]:
        """All but Host goes to the API, and nothing of its answers is kept but what they ask for."""
        domain = self._told(
            "ApiDomain", "Of the API that Zappa made, such as abc.execute-api.eu-north-1.amazonaws.com", NO_API
        )
        return {
            "origin": origins.HttpOrigin(
                domain,
                origin_id="api",
                origin_path=f"/{stage.name}",
                protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
                origin_ssl_protocols=[cloudfront.OriginSslPolicy.TLS_V1_2],
                keepalive_timeout=cdk.Duration.seconds(60),
                custom_headers={"X-Origin-Secret": self._secret_value()},
            ),
            "allowed_methods": cloudfront.AllowedMethods.ALLOW_ALL,
            "cache_policy": self._as_the_api_says(stage),
            "origin_request_policy": cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
            "response_headers_policy": headers,
            "compress": True,
        }

    def _as_the_api_says(self, stage: Stage) -> cloudfront.CachePolicy:
        """AWS's own policy for this keys by Host too, and so asks the API for a host that is not its own."""
        return cloudfront.CachePolicy(
            self,
            "AsTheApiSays",
            cache_policy_name=f"{stage.prefix}-as-the-api-says",
            min_ttl=cdk.Duration.seconds(0),
            default_ttl=cdk.Duration.seconds(0),
            max_ttl=YEAR,
            header_behavior=cloudfront.CacheHeaderBehavior.allow_list("Authorization", "Origin", "Accept"),
            query_string_behavior=cloudfront.CacheQueryStringBehavior.all(),
            cookie_behavior=cloudfront.CacheCookieBehavior.all(),
            enable_accept_encoding_gzip=True,
            enable_accept_encoding_brotli=True,
        )

    def _files(
        self, kind: str, strip: cloudfront.Function, headers: cloudfront.ResponseHeadersPolicy
    ) -> cloudfront.BehaviorOptions:
        # By its name: the bucket's rules name the distribution's address, and its policy the distribution.
        name = self._names[kind]
        bucket = s3.Bucket.from_bucket_attributes(
            self,
            f"{kind.capitalize()}Origin",
            bucket_name=name,
            bucket_regional_domain_name=f"{name}.s3.{self.region}.amazonaws.com",
        )
        cdk.Annotations.of(self).acknowledge_warning("@aws-cdk/aws-cloudfront-origins:updateImportedBucketPolicyOac")
        return cloudfront.BehaviorOptions(
            origin=origins.S3BucketOrigin.with_origin_access_control(bucket, origin_id=kind),
            allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD,
            cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            response_headers_policy=headers,
            compress=True,
            function_associations=[
                cloudfront.FunctionAssociation(function=strip, event_type=cloudfront.FunctionEventType.VIEWER_REQUEST)
            ],
        )

    def _headers(self, stage: Stage) -> cloudfront.ResponseHeadersPolicy:
        """For files and for API Gateway's own answers; what the app says of its own stands."""
        return cloudfront.ResponseHeadersPolicy(
            self,
            "Headers",
            response_headers_policy_name=f"{stage.prefix}-headers",
            security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
                strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                    access_control_max_age=YEAR, include_subdomains=True, preload=True, override=False
                ),
                content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=False),
                frame_options=cloudfront.ResponseHeadersFrameOptions(
                    frame_option=cloudfront.HeadersFrameOption.DENY, override=False
                ),
                referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                    referrer_policy=cloudfront.HeadersReferrerPolicy.SAME_ORIGIN, override=False
                ),
                content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                    content_security_policy="default-src 'none'; frame-ancestors 'none'; sandbox", override=False
                ),
            ),
        )

    def _log_bucket(self, stage: Stage) -> s3.Bucket:
        """Apart from the other logs: CloudFront writes them by an access control list, which those allow nobody."""
        bucket = private_bucket(
            self,
            "Logs",
            f"{stage.prefix}-front-logs-{self.account}",
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_PREFERRED,
            lifecycle_rules=[forgetting(stage.log_days)],
            server_access_logs_bucket=self._logs,
            server_access_logs_prefix="front-logs/",
        )
        accept(
            bucket,
            {
                "S3DefaultEncryptionKMS": "CloudFront writes its logs with S3's own key only, without a grant on ours",
                "S3BucketReplicationEnabled": "Access logs are worth no second region",
            },
        )
        return bucket

    # --- the secret that the API knows CloudFront by -----------------------------------------------------------------
    def _secret(self, resources: Resources, key: kms.IKey) -> secretsmanager.CfnSecret:
        """The app knows its SHA-256 alone, which the deployment works out: CloudFormation can digest nothing.

        Whoever changes it puts a new version and deploys: the deployment hands over both digests, and then tells us the
        new version's id.
        """
        secret = secretsmanager.CfnSecret(
            self,
            "OriginSecret",
            name=f"{resources.prefix}/origin",
            description="What CloudFront adds to each request, so that nobody goes around it",
            kms_key_id=key.key_arn,
            generate_secret_string=secretsmanager.CfnSecret.GenerateSecretStringProperty(
                password_length=43, exclude_punctuation=True
            ),
        )
        reason = "Changed with a deploy (docs/operations.md): the app knows its digest before CloudFront says it"
        accept(secret, {"SMG4": reason, "SecretsManagerRotationEnabled": reason})
        return secret

    def _secret_value(self) -> str:
        version = self._told("OriginVersion", "The id of the secret's version to say; the current one where empty", "")
        resolved = cdk.CfnDynamicReference(
            cdk.CfnDynamicReferenceService.SECRETS_MANAGER, f"{self.secret.ref}:SecretString:::{version}"
        )
        return str(resolved.to_string())

    # --- the domain --------------------------------------------------------------------------------------------------
    def _certificate(self, stage: Stage) -> dict[str, Any]:
        if not stage.domain:
            return {}
        arn = self._told("CertificateArn", "Of the stack worldwide")
        return {
            "domain_names": [stage.domain],
            "certificate": acm.Certificate.from_certificate_arn(self, "Certificate", arn),
            "minimum_protocol_version": cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
        }

    def _name(self, stage: Stage, distribution: cloudfront.Distribution) -> None:
        alias = route53.RecordTarget.from_alias(targets.CloudFrontTarget(distribution))
        zone = zone_of(self, stage)
        route53.ARecord(self, "Ipv4", zone=zone, target=alias)
        route53.AaaaRecord(self, "Ipv6", zone=zone, target=alias)

    def _told(self, name: str, description: str, default: str | None = None) -> str:
        """The value of a parameter, which the deployment fills."""
        parameter = cdk.CfnParameter(self, name, description=description, default=default)
        return str(parameter.value_as_string)


def _cheaper(prefix: str = "", *, kept: int) -> s3.LifecycleRule:
    """What is asked for seldom costs less and is there at once all the same; what was replaced goes after days."""
    return s3.LifecycleRule(
        id="cheaper",
        prefix=prefix or None,
        transitions=[
            s3.Transition(storage_class=s3.StorageClass.INTELLIGENT_TIERING, transition_after=cdk.Duration.days(30))
        ],
        noncurrent_version_expiration=cdk.Duration.days(kept),
        abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
    )


def _lifecycle(rule: Mapping[str, Any]) -> s3.LifecycleRule:
    """A rule in S3's words in CDK's."""
    return s3.LifecycleRule(
        id=rule["ID"],
        enabled=rule["Status"] == "Enabled",
        prefix=rule["Filter"]["Prefix"],
        expiration=cdk.Duration.days(rule["Expiration"]["Days"]),
        noncurrent_version_expiration=cdk.Duration.days(rule["NoncurrentVersionExpiration"]["NoncurrentDays"]),
        abort_incomplete_multipart_upload_after=cdk.Duration.days(
            rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        ),
    )


def _cors(rule: Mapping[str, Any]) -> s3.CorsRule:
    """The same of a rule of CORS."""
    methods: Iterable[str] = rule["AllowedMethods"]
    return s3.CorsRule(
        allowed_origins=rule["AllowedOrigins"],
        allowed_methods=[s3.HttpMethods[method] for method in methods],
        allowed_headers=rule["AllowedHeaders"],
        max_age=rule["MaxAgeSeconds"],
    )
