"""What the app runs as: roles, log groups, secrets, the container's repository, and the hand-over for Zappa.

Deployed after everything that the app talks to, and before Zappa. What neither CDK nor CloudFormation can know comes in
by CloudFormation's parameters, which the deployment fills: the digest of the origin's secret, and the image's tag.
"""

from collections.abc import Mapping
from email.utils import parseaddr
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infrastructure.batch import Batch
from infrastructure.config import Stage
from infrastructure.data import APPLICATION, DATABASE, OWNER, Data
from infrastructure.network import PRIVATE, Network
from infrastructure.parts import accept, log_group, pin
from infrastructure.permissions import Permissions, Statements, attach
from vibecode.resources import Resources

IMAGES = 30  # kept in the repository: to go back to
RESUMES, AWAKE = "25", "3"  # seconds that a connection is waited for


class Runtime(cdk.Stack):
    """The secret and the repository outlive their stack; the rest is made again."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stage: Stage,
        resources: Resources,
        network: Network,
        data: Data,
        key: kms.IKey,
        packages_bucket: str,
        media_bucket: str,
        public_url: str,
        user_pool_id: str,
        client_id: str,
        desk_client_id: str,
        sign_in_origin: str,
        connections_arn: str,
        websocket_url: str,
        websocket_api_url: str,
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, **stack)
        self.settings = self._settings(resources, key)
        permissions = Permissions(
            resources=resources,
            key_arn=key.key_arn,
            settings_arn=self.settings.secret_arn,
            media_bucket=media_bucket,
            may_sign_in=data.may_sign_in,
            user_pool_id=user_pool_id,
            connections_arn=connections_arn,
            sender=parseaddr(stage.sender)[1],
        )
        self.web = self._function_role("Web", f"{resources.prefix}-web", permissions.of_web())
        self.worker = self._function_role("Worker", f"{resources.prefix}-worker", permissions.of_worker())
        for which, function in (("WebLogs", resources.prefix), ("WorkerLogs", resources.worker)):
            log_group(self, which, f"/aws/lambda/{function}", days=stage.log_days, key=key)
        self.images = self._images(resources, key)
        environment = self._environment(stage, data) | {
            "PUBLIC_URL": public_url,
            "COGNITO_USER_POOL_ID": user_pool_id,
            "COGNITO_CLIENT_ID": client_id,
            "COGNITO_DOMAIN": sign_in_origin,
            "OIDC_CLIENT_ID": desk_client_id,
            "MEDIA_BUCKET": media_bucket,
            "MEDIA_URL": f"{public_url}/media",
            "WEBSOCKET_URL": websocket_url,
            "WEBSOCKET_API_URL": websocket_api_url,
        }
        self._hand_over(stage, network, data, key, packages_bucket, environment)
        if stage.batch:
            Batch(
                self,
                "Batch",
                stage=stage,
                resources=resources,
                network=network,
                key=key,
                images=self.images,
                statements=permissions.of_batch(),
                environment=environment,
            )

    # --- secrets ---------------------------------------------------------------------------------------------------
    def _settings(self, resources: Resources, key: kms.IKey) -> secretsmanager.Secret:
        """SECRET_KEY is made here, once; the others are put beside it and stay.

        CloudFormation writes the value when the secret is made and whenever this very property changes, and at no other
        time: what was put there survives every deploy as long as nobody touches the line (a test holds it).
        """
        secret = secretsmanager.Secret(
            self,
            "Settings",
            secret_name=f"{resources.prefix}/settings",
            description="SECRET_KEY, and put by hand: OIDC_CLIENT_SECRET, STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET",
            encryption_key=key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template="{}",  # noqa: S106 -- nothing but SECRET_KEY
                generate_string_key="SECRET_KEY",
                password_length=64,
                exclude_characters='"\\',
            ),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        pin(secret, "Settings")
        reason = "Stripe and Cognito make what is in it: it changes there first. docs/container.md says how"
        accept(secret, {"SMG4": reason, "SecretsManagerRotationEnabled": reason})
        return secret

    # --- roles -------------------------------------------------------------------------------------------------------
    def _function_role(self, name: str, role_name: str, policies: Mapping[str, Statements]) -> iam.Role:
        role = iam.Role(self, name, role_name=role_name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        for what, statements in policies.items():
            attach(self, f"{name}{what.capitalize()}", role, f"{role_name}-{what}", statements)
        return role

    # --- the container -----------------------------------------------------------------------------------------------
    def _images(self, resources: Resources, key: kms.IKey) -> ecr.Repository:
        """A tag, once given, names the same image for ever."""
        images = ecr.Repository(
            self,
            "Images",
            repository_name=resources.prefix,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            image_scan_on_push=True,
            encryption=ecr.RepositoryEncryption.KMS,
            encryption_key=key,
            lifecycle_rules=[ecr.LifecycleRule(description="go back so far", max_image_count=IMAGES)],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        pin(images, "Images")
        return images

    # --- the hand-over -----------------------------------------------------------------------------------------------
    def _environment(self, stage: Stage, data: Data) -> dict[str, str]:
        """What the stacks before this one say; the digest is the deployment's to give: CloudFormation makes none."""
        digest = cdk.CfnParameter(
            self,
            "OriginSecretSha256",
            description="The SHA-256 of the secret that CloudFront adds to each request, more while it changes",
            allowed_pattern="[0-9a-f]{64}(,[0-9a-f]{64})*",
        )
        cache = data.cache.attr_endpoint_address if data.cache else None
        return {
            "ORIGIN_SECRET_SHA256": digest.value_as_string,
            "DATABASE_URL": f"postgresql://{APPLICATION}@{data.address}",
            "DATABASE_SIGN_IN": "iam",
            "DATABASE_RESUME_SECONDS": RESUMES if stage.database_sleeps else AWAKE,
            "DATABASE_PROXIED": "yes" if stage.proxied else "no",
            "SECRETS_ARN": self.settings.secret_arn,
            "MAIL_FROM": stage.sender,
            **({"CACHE_URL": f"rediss://{cache}:6379/0"} if cache else {}),
            **({"CORS_ALLOWED_ORIGINS": ",".join(stage.front_ends)} if stage.front_ends else {}),
        }

    def _pool_keys(self) -> str:
        """Of the document alone: containers are brought no tokens, and are not told in JSON."""
        keys = cdk.CfnParameter(
            self,
            "PoolKeys",
            description="The public keys of the user pool as the deployment finds them, as part of a string of JSON",
            default="",
        )
        return str(keys.value_as_string)

    def _hand_over(
        self,
        stage: Stage,
        network: Network,
        data: Data,
        key: kms.IKey,
        packages_bucket: str,
        environment: Mapping[str, str],
    ) -> None:
        """One document, as infrastructure/hand_over.schema.json wants it; `zappa_settings.json` is completed by it.

        4 KB are free of charge and almost always enough; SSM itself takes the tier for 8 KB where they are not.
        """
        owner = f"postgresql://{OWNER}@{data.cluster.cluster_endpoint.hostname}:5432/{DATABASE}"
        functions = {
            which: {"roleArn": role.role_arn, "securityGroupIds": [network.group(self, which).security_group_id]}
            for which, role in (("web", self.web), ("worker", self.worker))
        }
        document = {
            "stage": stage.name,
            "region": self.region,
            "account": self.account,
            "deploymentBucket": packages_bucket,
            "kmsKeyArn": key.key_arn,
            "subnetIds": network.vpc.select_subnets(subnet_group_name=PRIVATE).subnet_ids,
            **functions,
            "environment": {**environment, "COGNITO_JWKS": self._pool_keys()},
            "workerEnvironment": {"DATABASE_OWNER_URL": owner, "DATABASE_OWNER_SIGN_IN": "iam"},
            **({"tracingLayer": stage.tracing_layer} if stage.tracing_layer else {}),
        }
        ssm.CfnParameter(
            self,
            "HandOver",
            name=f"/vibecode/{stage.name}/hand-over",
            description="What Zappa is told of this stage",
            type="String",
            tier="Intelligent-Tiering",
            value=self.to_json_string(document),
        )
