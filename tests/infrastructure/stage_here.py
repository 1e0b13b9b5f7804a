"""A stage on this machine for tests of the deployment: the local AWS, a small package, stacks that moto can make.

Change sets, buckets, parameters, functions, APIs and versions are moto's; whoever asks a function or the public address
asks `answer` below, which tells the release that the function was given last.
"""

import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import boto3
import httpx

from infrastructure.config import EDGE_REGION, REGION
from vibecode.local import aws, child, ports
from vibecode.local.folder import REPOSITORY
from vibecode.local.shop import CARRIED, OTHER_ACCOUNT
from vibecode.resources import LOCAL_ACCOUNT

STAGE = "dev"
PREFIX = f"vibecode-{STAGE}"
PACKAGES = f"{PREFIX}-packages-{LOCAL_ACCOUNT}"
WAITING = ["orders.0001_initial", "orders.0002_more"]  # migrations, one a call


def _parameter(name: str, value: Any) -> dict[str, Any]:
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Name": name, "Type": "String", "Value": value}}


def _bucket(name: str) -> dict[str, Any]:
    return {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name}}


@dataclass
class StageHere:
    """The local AWS of a stage, and what is deployed to it."""

    folder: Path
    endpoint: str = ""
    site: str = ""
    broken: str = ""  # the release whose pages answer 500
    applied: list[str] = field(default_factory=list)
    figures: int = 0
    statements: list[str] = field(default_factory=list)  # of SQL, as the Data API is asked for them
    document: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def client(self, service: str, region: str = REGION) -> Any:
        """boto3's client of a service."""
        keys = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
        return boto3.client(service, region_name=region, endpoint_url=self.endpoint, **keys)  # type: ignore[call-overload]  # any service

    # --- what is deployed --------------------------------------------------------------------------------------------
    def prepare(self) -> None:
        """Make what moto's CloudFormation cannot, and the hand-over of it."""
        self.client("lambda").list_functions()  # answered when all of the local AWS is there
        ec2, iam = self.client("ec2"), self.client("iam")
        network = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=network, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="g", Description="g", VpcId=network)["GroupId"]
        functions = {}
        for which in ("web", "worker"):
            role = iam.create_role(RoleName=f"{PREFIX}-{which}", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
            functions[which] = {"roleArn": role, "securityGroupIds": [group]}
        self.client("rds").create_db_cluster(
            DBClusterIdentifier=f"{PREFIX}-database",
            Engine="aurora-postgresql",
            MasterUsername="vibecode_master",
            ManageMasterUserPassword=True,
        )
        manager, cognito = self.client("secretsmanager"), self.client("cognito-idp")
        manager.create_secret(Name=f"{PREFIX}/origin", SecretString="known to CloudFront")
        stripes = {"STRIPE_API_KEY": "sk", "STRIPE_WEBHOOK_SECRET": "whsec"}
        secret = manager.create_secret(Name=f"{PREFIX}/settings", SecretString=json.dumps(stripes))["ARN"]
        pool = cognito.create_user_pool(PoolName=PREFIX)["UserPool"]["Id"]
        desk = cognito.create_user_pool_client(UserPoolId=pool, ClientName="desk", GenerateSecret=True)
        self.document = {
            "stage": STAGE,
            "region": REGION,
            "account": LOCAL_ACCOUNT,
            "deploymentBucket": PACKAGES,
            "kmsKeyArn": self.client("kms").create_key()["KeyMetadata"]["Arn"],
            "subnetIds": [subnet],
            **functions,
            "environment": {
                "PUBLIC_URL": self.site,
                "ORIGIN_SECRET_SHA256": "0" * 64,
                "DATABASE_URL": "postgresql://vibecode_app@database:5432/vibecode",
                "DATABASE_SIGN_IN": "iam",
                "DATABASE_RESUME_SECONDS": "25",
                "DATABASE_PROXIED": "no",
                "SECRETS_ARN": secret,
                "COGNITO_USER_POOL_ID": pool,
                "COGNITO_CLIENT_ID": "web",
                "COGNITO_DOMAIN": "https://sign-in.shop.example",
                "OIDC_CLIENT_ID": desk["UserPoolClient"]["ClientId"],
                "MEDIA_BUCKET": f"{PREFIX}-media-{LOCAL_ACCOUNT}",
                "WEBSOCKET_URL": "wss://live.shop.example",
                "WEBSOCKET_API_URL": "https://live.shop.example",
                "MAIL_FROM": "Shop <orders@shop.example>",
            },
        }

    def stacks(self, **more: dict[str, Any]) -> Path:
        """An assembly as CDK writes it, of small stacks in the order of the real ones, with ``more`` resources."""
        asked = {"Type": "String"}
        later = {"Type": "String", "Default": "pending.invalid"}
        stacks: dict[str, tuple[str, dict[str, Any]]] = {
            "foundation": (REGION, {"Resources": {"Packages": _bucket(PACKAGES)}}),
            "network": (REGION, {"Resources": {"Zones": _parameter("/zones", "abc")}}),
            "worldwide": (
                EDGE_REGION,
                {"Resources": {"Acl": _parameter("/acl", "1")}, "Outputs": {"WebAclArn": {"Value": "arn:acl"}}},
            ),
            "front": (
                REGION,
                {
                    "Parameters": {"ApiDomain": later, "WebAclArn": asked, "OriginVersion": later},
                    "Resources": {
                        "Static": _bucket(f"{PREFIX}-static-{LOCAL_ACCOUNT}"),
                        "Origin": _parameter(
                            "/origin", {"Fn::Join": ["|", [{"Ref": "ApiDomain"}, {"Ref": "WebAclArn"}]]}
                        ),
                    },
                },
            ),
            "runtime": (
                REGION,
                {
                    "Parameters": {"OriginSecretSha256": asked},
                    "Resources": {
                        "HandOver": _parameter(f"/vibecode/{STAGE}/hand-over", json.dumps(self.document)),
                        "Digest": _parameter("/digest", {"Ref": "OriginSecretSha256"}),
                    },
                },
            ),
            "integrations": (
                REGION,
                {"Parameters": {"ApiId": asked}, "Resources": {"Api": _parameter("/api", {"Ref": "ApiId"})}},
            ),
        }
        assembly = self.folder / "stacks" / f"assembly-{STAGE}"
        assembly.mkdir(parents=True, exist_ok=True)
        artifacts = {}
        for what, (region, template) in stacks.items():
            template["Resources"] |= more.get(what, {})
            (assembly / f"{what}.template.json").write_text(json.dumps(template))
            artifacts[what] = {
                "type": "aws:cloudformation:stack",
                "environment": f"aws://unknown-account/{region}",
                "properties": {
                    "stackName": f"{PREFIX}-{what}",
                    "templateFile": f"{what}.template.json",
                    "tags": {"app": "vibecode", "stage": STAGE},
                    "terminationProtection": False,  # moto has no call for it
                },
            }
        (assembly / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
        return assembly.parent

    def package(self, release: str) -> Path:
        """A package as small as one can be: what it is called, and one static file."""
        archive = self.folder / f"{release}.zip"
        if archive.exists():
            return archive
        with zipfile.ZipFile(archive, "w") as written:
            written.writestr("vibecode/release.txt", f"{release}\n")
            written.writestr("zappa_settings.py", f"API_STAGE='{STAGE}'\n")
            written.writestr("staticfiles/shop.css", release)
            written.writestr(f"staticfiles/shop.{release}.css", release)
            written.writestr("staticfiles/staticfiles.json", json.dumps({"paths": {"shop.css": f"shop.{release}.css"}}))
        return archive

    def command(self, what: str, *words: str, release: str = "") -> list[str]:
        """The command line of a deploy, or of the way back."""
        given = ["--templates", str(self.folder / "stacks"), "--package", str(self.package(release))] if release else []
        asked = ["--stage", STAGE, "--yes", "--account", LOCAL_ACCOUNT]
        return [sys.executable, "-m", "infrastructure.deploying", what, *asked, *given, *words]

    def run(self, what: str, *words: str, release: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(what, *words, release=release),
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    # --- what is there -----------------------------------------------------------------------------------------------
    def release_of(self, function: str) -> str:
        """What the package of a function says it is."""
        found = self.client("lambda").get_function(FunctionName=function)["Code"]["Location"]
        content = httpx.get(found, trust_env=False).content
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            return package.read("vibecode/release.txt").decode().strip()

    @property
    def releases(self) -> tuple[str, str]:
        """Of the web function, and of the worker."""
        return self.release_of(PREFIX), self.release_of(f"{PREFIX}-worker")

    @property
    def record(self) -> dict[str, Any]:
        """What the deployment keeps."""
        body = self.client("s3").get_object(Bucket=PACKAGES, Key="deployment.json")["Body"].read()
        told: dict[str, Any] = json.loads(body)
        return told

    def keys(self, which: str) -> set[str]:
        """What a bucket holds."""
        listed = self.client("s3").list_objects_v2(Bucket=f"{PREFIX}-{which}-{LOCAL_ACCOUNT}")
        return {each["Key"] for each in listed.get("Contents", [])}

    # --- who is asked ------------------------------------------------------------------------------------------------
    def operate(self, event: dict[str, Any]) -> dict[str, Any]:
        """The worker's part: two migrations, a call each; figures in two calls."""
        if "operation" not in event:  # a schedule of the local AWS
            return {}
        if event["operation"] == "migrate":
            waiting = [name for name in WAITING if name not in self.applied]
            self.applied += waiting[:1]
            return {"applied": waiting[:1], "left": waiting[1:]}
        self.figures += 1
        return {"done": "after" in event["arguments"], "goOnAfter": 7}

    def ask(self) -> tuple[int, str]:
        """The shop's part: status and release."""
        release = self.release_of(PREFIX)
        return 500 if release == self.broken else 200, release


class Site(BaseHTTPRequestHandler):
    """The runtime's address and the public one."""

    stage: ClassVar[StageHere]

    def do_POST(self) -> None:
        """An invocation, or a statement for the Data API, which moto has none of."""
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/Execute":
            self.stage.statements.append(told["sql"])
            self._answer(200, {"numberOfRecordsUpdated": 0})
        else:
            self._answer(200, self.stage.operate(told))

    def do_GET(self) -> None:
        """A page."""
        status, release = self.stage.ask()
        self._answer(status, {}, {"X-Release": release})

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, told: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        text = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def stage_here(folder: Path) -> Iterator[StageHere]:
    """A stage to which nothing has been deployed."""
    stage = StageHere(folder)
    server = ThreadingHTTPServer((ports.HOST, 0), type("SiteHere", (Site,), {"stage": stage}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stage.site = f"http://{ports.HOST}:{server.server_address[1]}"
    port = ports.free_port()
    stage.endpoint = f"http://{ports.HOST}:{port}"
    kept = {name: value for name, value in os.environ.items() if name not in (*CARRIED, *OTHER_ACCOUNT)}
    kept |= {"NO_PROXY": ports.HOST, "no_proxy": ports.HOST, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    (folder / "aws").mkdir()
    with (folder / "aws.log").open("wb") as log:
        command = aws.command(port, folder / "aws", STAGE)
        moto = child.start(command, output=log, environment=kept | {"LAMBDA_RUNTIME_URL": stage.site})
    try:
        while not ports.answers(port, aws.JWKS_PATH):
            assert moto.poll() is None, (folder / "aws.log").read_text()
        stage.environment = kept | {
            "AWS_ENDPOINT_URL": stage.endpoint,
            "AWS_ENDPOINT_URL_RDS_DATA": stage.site,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "HTTPS_PROXY": f"http://{ports.HOST}:9",  # nobody: Zappa would ask the world for newer versions of itself
        }
        stage.prepare()
        stage.stacks()
        yield stage
    finally:
        moto.terminate()
        moto.wait()
        server.shutdown()
        server.server_close()
