"""A stage on this machine for tests of the deployment: the local AWS, a small package, stacks that moto can make.

Change sets, buckets, parameters, functions, APIs and versions are moto's, behind a wire that counts the calls of each
step and can kill who calls. Who asks a function or the public address asks the stage below, which tells the release
that the function was given last, and refuses whatever a deploy has no reason to ask.
"""

import http.client
import io
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import boto3
import httpx

from infrastructure.config import EDGE_REGION, REGION
from infrastructure.database_roles import DATABASE, statements
from infrastructure.deploying.pages import PAGES
from infrastructure.deploying.record import BEGUN, KEY
from vibecode.local import aws, child, ports
from vibecode.local.folder import REPOSITORY
from vibecode.local.shop import CARRIED, OTHER_ACCOUNT
from vibecode.resources import LOCAL_ACCOUNT

STAGE = "dev"
PREFIX = f"vibecode-{STAGE}"
WORKER, NEXT = f"{PREFIX}-worker", f"{PREFIX}-next"
PACKAGES = f"{PREFIX}-packages-{LOCAL_ACCOUNT}"
WAITING = ["orders.0001_initial", "orders.0002_more"]  # migrations, one a call
ORIGIN = "known to CloudFront"
KEYS = "(keys)"  # in the document, where the stack sets in what it is told
LOCK, BEGINNING, END = "the lock", "the beginning", "the end"  # writes of the record that belong to no step
BACK = "back"  # all of it, as one step


def _parameter(name: str, value: Any) -> dict[str, Any]:
    return {"Type": "AWS::SSM::Parameter", "Properties": {"Name": name, "Type": "String", "Value": value}}


def _bucket(name: str) -> dict[str, Any]:
    return {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name}}


def _around(text: str, value: Any) -> tuple[str, Any, str]:
    before, _, after = text.partition(KEYS)
    return before, value, after


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """Where a run is killed: at this call within a step, before AWS is asked or ``after`` it has done it."""

    step: str
    call: int
    after: bool


@dataclass
class StageHere:
    """The local AWS of a stage, and what is deployed to it."""

    folder: Path
    endpoint: str = ""
    site: str = ""
    broken: str = ""  # the release whose pages answer 500
    unreachable: str = ""  # the release that CloudFront does not reach
    waiting: list[str] = field(default_factory=lambda: list(WAITING))
    applied: list[str] = field(default_factory=list)
    migrated: set[tuple[str, str]] = field(default_factory=set)  # which release migrated, and which the worker had
    figures: list[dict[str, Any]] = field(default_factory=list)  # with what they were asked for
    statements: list[str] = field(default_factory=list)  # of SQL, as the Data API is asked for them
    cluster: Mapping[str, Any] = field(default_factory=dict)
    made: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # functions, as Lambda is asked for them
    calls: Counter[str] = field(default_factory=Counter)  # of AWS, by the step that made them, in the last run
    running: "subprocess.Popen[str] | None" = None
    blow: Blow | None = None  # it is None again when it was struck
    at: tuple[str, int] = ("", 0)  # the step that the last call was made in, and which of its calls it was
    _step: str = ""
    _record: bytes = b""
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
        self.cluster = self.client("rds").create_db_cluster(
            DBClusterIdentifier=f"{PREFIX}-database",
            Engine="aurora-postgresql",
            MasterUsername="vibecode_master",
            ManageMasterUserPassword=True,
        )["DBCluster"]
        manager, cognito = self.client("secretsmanager"), self.client("cognito-idp")
        manager.create_secret(Name=f"{PREFIX}/origin", SecretString=ORIGIN)
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
                "COGNITO_JWKS": KEYS,
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
            "identity": (
                REGION,
                {
                    "Resources": {"Pool": _parameter("/pool", "1")},
                    "Outputs": {"PoolId": {"Value": self.document["environment"]["COGNITO_USER_POOL_ID"]}},
                },
            ),
            "runtime": (
                REGION,
                {
                    "Parameters": {"OriginSecretSha256": asked, "PoolKeys": {"Type": "String", "Default": ""}},
                    "Resources": {
                        "HandOver": _parameter(
                            f"/vibecode/{STAGE}/hand-over",
                            {"Fn::Join": ["", [*_around(json.dumps(self.document), {"Ref": "PoolKeys"})]]},
                        ),
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
            hashed = {
                "shop.css": f"shop.{release}.css",
                "shop.css.map": f"shop.css.{release}.map",
            }  # the latter is gone
            written.writestr("staticfiles/staticfiles.json", json.dumps({"paths": hashed}))
        return archive

    def command(self, what: str, *words: str, release: str = "") -> list[str]:
        """The command line of a deploy, or of the way back."""
        given = ["--templates", str(self.folder / "stacks"), "--package", str(self.package(release))] if release else []
        asked = ["--stage", STAGE, "--yes", "--account", LOCAL_ACCOUNT]
        return [sys.executable, "-m", "tests.infrastructure.deploy_here", what, *asked, *given, *words]

    def start(self, what: str, *words: str, release: str = "", blow: Blow | None = None) -> "subprocess.Popen[str]":
        """Let it run by itself; a blow kills it on its way."""
        self.calls, self.blow = Counter(), blow
        self.running = subprocess.Popen(
            self.command(what, *words, release=release),
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.running

    def run(
        self, what: str, *words: str, release: str = "", blow: Blow | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        started = self.start(what, *words, release=release, blow=blow)
        said, _ = started.communicate()
        return subprocess.CompletedProcess(started.args, started.returncode, said)

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
        return self.release_of(PREFIX), self.release_of(WORKER)

    @property
    def functions(self) -> set[str]:
        """Which there are of the stage's."""
        return {each["FunctionName"] for each in self.client("lambda").list_functions()["Functions"]} & {
            PREFIX,
            WORKER,
            NEXT,
        }

    @property
    def settings(self) -> dict[str, str]:
        """The stage's secret."""
        found = self.client("secretsmanager").get_secret_value(SecretId=f"{PREFIX}/settings")
        told: dict[str, str] = json.loads(found["SecretString"])
        return told

    @property
    def desk_secret(self) -> str:
        """The one that Cognito made for the desk."""
        asked = {name: self.document["environment"][name] for name in ("COGNITO_USER_POOL_ID", "OIDC_CLIENT_ID")}
        client = self.client("cognito-idp").describe_user_pool_client(
            UserPoolId=asked["COGNITO_USER_POOL_ID"], ClientId=asked["OIDC_CLIENT_ID"]
        )
        return str(client["UserPoolClient"]["ClientSecret"])

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
    def invoked(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """The functions' part: two migrations, a call each, figures in two calls, and pages. Raises Unexpected."""
        if event.get("detail-type") == "Scheduled Event":  # the local AWS has clocks
            return {}
        match function, event:
            case (name, {"operation": "migrate", "arguments": {}}) if name == NEXT:
                worker = self.release_of(WORKER) if WORKER in self.functions else ""
                self.migrated.add((self.release_of(NEXT), worker))
                left = [each for each in self.waiting if each not in self.applied]
                self.applied += left[:1]
                return {"applied": left[:1], "left": left[1:]}
            case (name, {"operation": "rebuild-figures", "arguments": asked}) if name == WORKER:
                self.figures.append(asked)
                return {"done": True} if "after" in asked else {"done": False, "goOnAfter": 7}
            case (name, {"httpMethod": "GET", "path": page, "headers": {"X-Origin-Secret": secret}}) if name == NEXT:
                release = self.release_of(NEXT)
                status = 403 if secret != ORIGIN else self.status(page, release)
                return {"statusCode": status, "headers": {"X-Release": release}, "body": "", "isBase64Encoded": True}
        raise Unexpected(f"nobody asks {function} for {event}")

    def status(self, page: str, release: str) -> int:
        """How a release answers a page."""
        return 404 if page not in PAGES else 500 if release == self.broken else 200

    def execute(self, asked: dict[str, str]) -> None:
        """The Data API's part, which moto has none of. Raises Unexpected."""
        wanted = {
            "resourceArn": self.cluster["DBClusterArn"],
            "secretArn": self.cluster["MasterUserSecret"]["SecretArn"],
            "database": DATABASE,
        }
        sql = asked.pop("sql")
        if asked != wanted or sql not in statements():
            raise Unexpected(f"nobody executes {sql} with {asked}")
        self.statements.append(sql)

    # --- the wire ----------------------------------------------------------------------------------------------------
    def hears(self, method: str, path: str, body: bytes) -> bool:
        """Note a call of AWS before it is passed on; whether it may be: not, where who calls was killed for it."""
        if method == "POST" and path == "/2015-03-31/functions":
            told = json.loads(body)
            self.made.setdefault(told["FunctionName"], []).append(told)
        is_record = method == "PUT" and path == f"/{PACKAGES}/{KEY}"
        if is_record and body == self._record:
            return True  # a sign of life, whenever it comes
        step = (is_record and _moment(self._record, body)) or self._step
        self.calls[step] += 1
        strikes = self.blow and (self.blow.step, self.blow.call) == (step, self.calls[step])
        if strikes and self.blow and not self.blow.after:
            self._strike()
            return False
        if is_record:
            self._record, self._step = body, _step_of(json.loads(body))
        self.at = step, self.calls[step]
        return True

    def has_done(self, step: str, call: int) -> None:
        """AWS has done what was asked."""
        if self.blow == Blow(step=step, call=call, after=True):
            self._strike()

    def _strike(self) -> None:
        assert self.running
        self.running.kill()
        self.blow = None


def _moment(before: bytes, after: bytes) -> str:
    """What a write of the record brings about; empty where it only tells how far a step is."""
    nothing = {"lock": None, "attempt": None}
    was, now = (json.loads(each) if each else nothing for each in (before, after))
    if now["lock"] and now["lock"] != was["lock"]:
        return LOCK
    if now["attempt"] is None:
        return END if was["attempt"] else ""
    begun = [each["attempt"] and (each["attempt"]["kind"], each["attempt"]["release"]["name"]) for each in (was, now)]
    return BEGINNING if begun[0] != begun[1] else ""


def _step_of(record: dict[str, Any]) -> str:
    """The step that a run is at, by its journal; empty between two of them."""
    attempt = record["attempt"]
    if attempt is None or record["lock"] is None:
        return ""
    if attempt["backing_out"]:
        return BACK
    begun = [step for step, verdict in attempt["steps"].items() if verdict == BEGUN]
    return begun[-1] if begun else ""


class Unexpected(Exception):
    """A deploy has no reason to ask this."""


class Answering(BaseHTTPRequestHandler):
    """What both servers share."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the other side's acknowledgement
    stage: ClassVar[StageHere]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def body(self) -> bytes:
        """All of it."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, content: bytes = b"{}", headers: Mapping[str, str] | None = None) -> None:
        """Send it."""
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class Site(Answering):
    """The functions' runtime, for moto, and the public address."""

    def do_POST(self) -> None:
        """An invocation."""
        event = json.loads(self.body())
        asked = re.fullmatch(r"/2015-03-31/functions/[^/]+:function:([^/:]+)/invocations", unquote(self.path))
        if asked is None:
            self.answer(404)
            return
        try:
            self.answer(200, json.dumps(self.stage.invoked(asked[1], event)).encode())
        except Unexpected as unexpected:
            self.answer(400, str(unexpected).encode())

    def do_GET(self) -> None:
        """A page, through CloudFront."""
        release = self.stage.release_of(PREFIX)
        status = 502 if release == self.stage.unreachable else self.stage.status(self.path, release)
        self.answer(status, headers={"X-Release": release})


class Wire(Answering):
    """The way to the local AWS of whoever deploys."""

    moto: ClassVar[int]
    turn: ClassVar[threading.Lock]

    def do_POST(self) -> None:
        """A call."""
        body, stage = self.body(), self.stage
        with self.turn:
            if not stage.hears(self.command, urlsplit(self.path).path, body):
                self.close_connection = True
                return
            step, call = stage.at
        if self.path == "/Execute":
            try:
                stage.execute(json.loads(body))
            except Unexpected as unexpected:
                self.answer(400, json.dumps({"message": str(unexpected)}).encode())
                return
            answer: tuple[int, bytes, dict[str, str]] = (200, b'{"numberOfRecordsUpdated": 0}', {})
        else:
            answer = self._passed_on(body)
        stage.has_done(step, call)
        self.answer(*answer)

    do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 -- http.server's names

    def _passed_on(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(ports.HOST, self.moto, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            connection.request(self.command, self.path, body, headers)
            said = connection.getresponse()
            hop = {"connection", "content-length", "transfer-encoding", "server", "date"}
            told = {name: value for name, value in said.getheaders() if name.lower() not in hop}
            return said.status, said.read(), told
        finally:
            connection.close()


@contextmanager
def _serving(handler: type[Answering], **known: Any) -> Iterator[str]:
    server = ThreadingHTTPServer((ports.HOST, 0), type(handler.__name__, (handler,), known))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://{ports.HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def stage_here(folder: Path) -> Iterator[StageHere]:
    """A stage to which nothing has been deployed."""
    stage, port = StageHere(folder), ports.free_port()
    kept = {name: value for name, value in os.environ.items() if name not in (*CARRIED, *OTHER_ACCOUNT)}
    kept |= {"NO_PROXY": ports.HOST, "no_proxy": ports.HOST, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    (folder / "aws").mkdir()
    with (
        _serving(Site, stage=stage) as stage.site,
        _serving(Wire, stage=stage, moto=port, turn=threading.Lock()) as stage.endpoint,
        (folder / "aws.log").open("wb") as log,
    ):
        command = aws.command(port, folder / "aws", STAGE)
        moto = child.start(command, output=log, environment=kept | {"LAMBDA_RUNTIME_URL": stage.site})
        try:
            while not ports.answers(port, aws.JWKS_PATH):
                assert moto.poll() is None, (folder / "aws.log").read_text()
            stage.environment = kept | {
                "AWS_ENDPOINT_URL": stage.endpoint,
                "AWS_ACCESS_KEY_ID": "tests",
                "AWS_SECRET_ACCESS_KEY": "tests",
                "HTTPS_PROXY": f"http://{ports.HOST}:9",  # nobody: Zappa would ask for newer versions of itself
            }
            stage.prepare()
            stage.stacks()
            yield stage
        finally:
            moto.terminate()
            moto.wait()
