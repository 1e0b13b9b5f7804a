"""A stage's account in the local AWS: what the stacks make before Zappa and after it. Used by the rehearsal.

Each part is made with boto3, from the names and settings that the stacks use too.
"""

import hashlib
import json
import mimetypes
import secrets
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import boto3
import psycopg
from botocore.config import Config
from psycopg import sql

from infrastructure.database_roles import APPLICATION, OWNER, SIGNS_IN, statements
from infrastructure.deploying.releases import STATIC, served
from infrastructure.hand_over import Document, check
from vibecode.local.names import CLIENT_ID, MEDIA_BUCKET, POOL_ID, REGION
from vibecode.local.provision import mappings
from vibecode.resources import LOCAL_ACCOUNT, Resources

DATABASE = "shop"
APP, MASTER = APPLICATION, "vibecode_master"


class Account:
    """The account of one stage; ``endpoint`` is the local AWS, which has made buses, queues, pool and workflow."""

    def __init__(self, stage: str, endpoint: str) -> None:
        self.stage, self.endpoint = stage, endpoint
        self.resources = Resources(stage=stage, region=REGION, account=LOCAL_ACCOUNT, endpoint=endpoint)
        self.static_bucket, self.media_bucket = f"{self.resources.prefix}-static", MEDIA_BUCKET
        self.origin_secret = secrets.token_urlsafe(32)
        self.deployment_bucket = f"{self.resources.prefix}-packages"

    def client(self, service: str) -> Any:
        """boto3's client of a service."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # the caller names it
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id="engineer",
            aws_secret_access_key="engineer",  # noqa: S106 -- moto takes every key
            config=Config(s3={"addressing_style": "path"}, read_timeout=150, retries={"total_max_attempts": 1}),
        )

    def make_database(self, server: str) -> dict[str, str]:
        """A database with the roles that a stage has, each with its secret; ``server`` is a superuser's URL.

        The statements are the deployment's, run by a master who is no superuser, as RDS has one; but here roles sign in
        by password. Gives the settings that say where it is.
        """
        passwords = {role: secrets.token_urlsafe(24) for role in (OWNER, APP)}
        where = urlsplit(server)
        with psycopg.connect(server, autocommit=True) as admin:
            make_as_master(admin, DATABASE, where)
            for role, password in passwords.items():
                admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))
        signs_in = {role: self.secret(role, username=role, password=passwords[role]) for role in passwords}
        addresses = {role: f"postgresql://{role}@{where.hostname}:{where.port}/{DATABASE}" for role in passwords}
        return {
            "DATABASE_URL": addresses[APP],
            "DATABASE_SIGN_IN": signs_in[APP],
            "DATABASE_OWNER_URL": addresses[OWNER],
            "DATABASE_OWNER_SIGN_IN": signs_in[OWNER],
        }

    def secret(self, name: str, **values: str) -> str:
        """The ARN of a new secret."""
        made = self.client("secretsmanager").create_secret(
            Name=f"{self.resources.prefix}/{name}", SecretString=json.dumps(values)
        )
        return str(made["ARN"])

    def hand_over(self, *, public_url: str, database: dict[str, str], **environment: str) -> Document:
        """Make what Zappa needs, and hand it over as the stacks do: one checked document."""
        ec2, iam = self.client("ec2"), self.client("iam")
        network = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=network, CidrBlock=f"10.0.{zone}.0/24")["Subnet"]["SubnetId"] for zone in range(3)
        ]
        for bucket in (self.deployment_bucket, self.static_bucket):
            self.client("s3").create_bucket(Bucket=bucket)
        functions: dict[str, Any] = {}
        for which in ("web", "worker"):
            name = f"{self.resources.prefix}-{which}"
            group = ec2.create_security_group(GroupName=name, Description=name, VpcId=network)["GroupId"]
            role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
            functions[which] = {"roleArn": role, "securityGroupIds": [group]}
        owner = {name: value for name, value in database.items() if name.startswith("DATABASE_OWNER")}
        return check(
            {
                "stage": self.stage,
                "region": REGION,
                "account": LOCAL_ACCOUNT,
                "deploymentBucket": self.deployment_bucket,
                "kmsKeyArn": self.client("kms").create_key()["KeyMetadata"]["Arn"],
                "subnetIds": subnets,
                **functions,
                "environment": {
                    "PUBLIC_URL": public_url,
                    "ORIGIN_SECRET_SHA256": hashlib.sha256(self.origin_secret.encode()).hexdigest(),
                    "MEDIA_URL": f"{public_url}/media",
                    "SECRETS_ARN": self.secret(
                        "settings", SECRET_KEY=secrets.token_urlsafe(50), OIDC_CLIENT_SECRET=secrets.token_urlsafe(32)
                    ),
                    "DATABASE_RESUME_SECONDS": "25",
                    "DATABASE_PROXIED": "no",
                    "COGNITO_USER_POOL_ID": POOL_ID,
                    "COGNITO_CLIENT_ID": CLIENT_ID,
                    "COGNITO_DOMAIN": environment["OIDC_ISSUER"],
                    "OIDC_CLIENT_ID": "desk",
                    "MEDIA_BUCKET": self.media_bucket,
                    "MAIL_FROM": "Shop <orders@shop.example>",
                    "AWS_ENDPOINT_URL": self.endpoint,
                    "PAYMENT_PROVIDER": "demo",
                    **{name: value for name, value in database.items() if name not in owner},
                    **environment,
                },
                "workerEnvironment": owner,
            }
        )

    def publish_static(self, archive: Path) -> int:
        """Put the package's static files where CloudFront reads them, under the names that a deploy gives; how many."""
        with zipfile.ZipFile(archive) as opened:
            hashed = served(opened)
            for key in hashed:
                kind, body = mimetypes.guess_type(key)[0] or "application/octet-stream", opened.read(f"{STATIC}{key}")
                self.client("s3").put_object(Bucket=self.static_bucket, Key=key, Body=body, ContentType=kind)
        return len(hashed)

    def integrate(self) -> int:
        """What the stack after Zappa makes: an event source mapping for each queue; how many."""
        wanted = list(mappings(self.resources))
        for mapping in wanted:
            self.client("lambda").create_event_source_mapping(**mapping)
        return len(wanted)

    def separate(self) -> None:
        """Take that stack away again."""
        client = self.client("lambda")
        for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
            client.delete_event_source_mapping(UUID=mapping["UUID"])

    def left_by_zappa(self) -> list[str]:
        """What is still there of what Zappa made: functions, APIs, stacks, packages."""
        functions = self.client("lambda").list_functions()["Functions"]
        apis = self.client("apigateway").get_rest_apis()["items"]
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        packages = self.client("s3").list_objects_v2(Bucket=self.deployment_bucket).get("Contents", [])
        return [
            *(function["FunctionName"] for function in functions),
            *(api["name"] for api in apis),
            *(stack["StackName"] for stack in stacks),
            *(package["Key"] for package in packages),
        ]


def make_as_master(admin: psycopg.Connection[Any], database: str, where: SplitResult) -> None:
    """A database as RDS gives it, with its master and RDS's role; then ours, by the deployment's statements."""
    password = secrets.token_urlsafe(24)
    admin.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(SIGNS_IN)))
    admin.execute(
        sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}").format(
            sql.Identifier(MASTER), sql.Literal(password)
        )
    )
    may_grant = sql.SQL("GRANT {} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")  # and signs in by password
    admin.execute(may_grant.format(sql.Identifier(SIGNS_IN), sql.Identifier(MASTER)))
    admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(MASTER)))
    mine = f"postgresql://{MASTER}:{password}@{where.hostname}:{where.port}/{database}"
    with psycopg.connect(mine, autocommit=True) as master:
        for statement in (*statements(database), *statements(database)):  # each may run again
            master.execute(statement.encode())
