"""What each role of ours may do, and why: one statement for each thing that the code does. Called by runtime.py.

Each statement was read from the code that calls (vibecode/aws.py and who asks it for a client, vibecode/sigv4.py); its
sid says what for. Where a resource is `*`, AWS offers no other: privilege/exceptions.json says so, action by action.

Longer than most modules: whoever asks what a role may reads all of it in one place.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from infrastructure.data import APPLICATION, OWNER
from infrastructure.parts import accept
from infrastructure.privilege.check import EXCEPTIONS
from vibecode.resources import UPLOADS, Resources

PICTURES = "products/"  # of the media bucket: what everybody sees
INDEX = "by_connection"  # of the table of connections

# What no narrower resource can be named for, each with AWS's page that has none.
EVERYWHERE: Mapping[str, str] = json.loads(EXCEPTIONS.read_text())["everywhere"]

WITHIN = "Names of ours alone, of which more are made while we run: files, log streams, executions, connections"

_LAMBDA_VPC = "https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions"
OF_THE_VPC = f"Lambda asks for all interfaces of the region, and makes its own as it needs them: {_LAMBDA_VPC}"

# What Lambda does with a function's role to join the VPC, and the function's own code never.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-best-practice
NETWORK_INTERFACES = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
LOOKS_AT_THE_NETWORK = ("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets")

type Statements = list[iam.PolicyStatement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """The statements of a stage's roles. What a role needs to run and what the shop does in it are policies apart."""

    resources: Resources
    key_arn: str
    settings_arn: str  # of the app's secret
    media_bucket: str
    may_sign_in: Callable[[str], Sequence[str]]  # the ARNs for a role of PostgreSQL
    user_pool_id: str
    connections_arn: str  # of the websocket API
    sender: str  # the address in MAIL_FROM

    # --- what each may do ----------------------------------------------------------------------------------------
    def of_web(self) -> Mapping[str, Statements]:
        """The function behind the gateway: customers, staff at the desk, Stripe's news."""
        return {
            "runs": self._runs(self.resources.prefix, "sqs", "s3", "states"),
            "shop": [
                allow("KeepTickets", ["dynamodb:PutItem"], [self._table], self._tickets_only),
                allow("SeeWhatUploadsBecame", ["s3:GetObject"], self._objects(UPLOADS, PICTURES)),
                allow("SignUploadsAndShowPictures", ["s3:PutObject"], self._objects(UPLOADS, PICTURES)),
                allow("ForgetFiles", ["s3:DeleteObject"], self._objects(UPLOADS, PICTURES)),
                self._tell_missing_from_forbidden(),
                # Each queue's dead letters go back to it from the desk; `relay` is rung, `jobs` is given work.
                allow("SendToOurQueues", ["sqs:SendMessage"], self._queues()),
                allow("CountMessages", ["sqs:GetQueueAttributes"], [*self._queues(), *self._queues(dead=True)]),
                allow("MoveDeadLetters", ["sqs:ReceiveMessage", "sqs:DeleteMessage"], self._queues(dead=True)),
                *self._workflow(),
                allow("CountLostExecutions", ["states:ListExecutions"], [self.resources.state_machine_arn]),
            ],
        }

    def of_worker(self) -> Mapping[str, Statements]:
        """The function behind queues, schedules, workflow, websocket, Cognito's trigger and operations."""
        return {
            "runs": [
                *self._runs(self.resources.worker, "sqs", "s3", "states", "sns"),
                self._sign_in("MigrateTheDatabase", OWNER),
                # Lambda polls with the function's role.
                # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
                allow(
                    "BeGivenMessages",
                    ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
                    self._queues(),
                ),
            ],
            "shop": [
                allow("BringFailedMessagesBackSoon", ["sqs:ChangeMessageVisibility"], self._queues()),
                # Whatever publishes a fact rings the relay; the sweep sends the chunks of jobs that were lost.
                allow(
                    "RingAndGiveWork",
                    ["sqs:SendMessage"],
                    [self.resources.queue_arn(key) for key in ("relay", "jobs")],
                ),
                allow(
                    "PutFactsOnTheBus", ["events:PutEvents"], [self._arn("events", f"event-bus/{self.resources.bus}")]
                ),
                *self._workflow(),
                allow("TellStaffAndPartners", ["sns:Publish"], [self.resources.topic_arn]),
                self._write_to_customers(),
                *self._websocket(),
                allow("ReadFilesAndPictures", ["s3:GetObject"], self._objects(f"{UPLOADS}jobs/", PICTURES)),
                allow("KeepExportsAndCopies", ["s3:PutObject"], self._objects(f"{UPLOADS}exports/", PICTURES)),
                allow("ForgetFiles", ["s3:DeleteObject"], self._objects(UPLOADS, PICTURES)),
                self._tell_missing_from_forbidden(),
                allow(
                    "MakeStaff",
                    ["cognito-idp:AdminCreateUser", "cognito-idp:CreateGroup", "cognito-idp:AdminAddUserToGroup"],
                    [self._arn("cognito-idp", f"userpool/{self.user_pool_id}")],
                ),
            ],
        }

    def of_batch(self) -> Statements:
        """What works at the queue `jobs` in a container: imports, exports, many orders at once."""
        takes = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]
        return [
            self._read_settings(),
            self._use_the_key("secretsmanager", "sqs", "s3"),
            self._sign_in("SignInToTheDatabase", APPLICATION),
            allow("TakeJobs", takes, [self.resources.queue_arn("jobs")]),
            allow("RingTheRelay", ["sqs:SendMessage"], [self.resources.queue_arn("relay")]),
            allow("ReadFiles", ["s3:GetObject"], self._objects(f"{UPLOADS}jobs/")),
            allow("KeepExports", ["s3:PutObject"], self._objects(f"{UPLOADS}exports/")),
            allow("ForgetExports", ["s3:DeleteObject"], self._objects(f"{UPLOADS}exports/")),
            self._tell_missing_from_forbidden(),
        ]

    # --- what several of them do ---------------------------------------------------------------------------------
    def _runs(self, function: str, *services: str) -> Statements:
        """What every function of ours needs, whatever it does: its log, the network, traces, settings, the database."""
        account, region = self.resources.account, self.resources.region
        group = self._arn("logs", f"log-group:/aws/lambda/{function}")
        return [
            allow("WriteItsOwnLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"{group}:*"]),
            allow("JoinTheNetwork", [*NETWORK_INTERFACES], [f"arn:aws:ec2:{region}:{account}:*/*"]),
            allow("LookAtTheNetwork", [*LOOKS_AT_THE_NETWORK], ["*"]),
            iam.PolicyStatement(
                sid="ButNotByOurOwnCode",
                effect=iam.Effect.DENY,
                actions=[*NETWORK_INTERFACES, *LOOKS_AT_THE_NETWORK, "ec2:DetachNetworkInterface"],
                resources=["*"],
                conditions={
                    "ArnEquals": {
                        "lambda:SourceFunctionArn": [
                            self._arn("lambda", f"function:{each}")
                            for each in (function, f"{self.resources.prefix}-next")  # the release that comes
                        ]
                    }
                },
            ),
            allow("BeTraced", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"]),
            self._read_settings(),
            # Lambda opens the function's environment with its role, should the grant that it made be of a former one.
            self._use_the_key("lambda", "secretsmanager", *services),
            self._use_the_key_of_the_table(),
            self._sign_in("SignInToTheDatabase", APPLICATION),
        ]

    def _read_settings(self) -> iam.PolicyStatement:
        return allow("ReadSettings", ["secretsmanager:GetSecretValue"], [self.settings_arn])

    def _use_the_key(self, *services: str) -> iam.PolicyStatement:
        """The stage's key, through these services alone: none of ours ever asks KMS itself."""
        through = [f"{service}.{self.resources.region}.amazonaws.com" for service in services]
        actions = ["kms:Decrypt", "kms:GenerateDataKey"]
        return allow("UseTheKey", actions, [self.key_arn], {"StringEquals": {"kms:ViaService": through}})

    def _use_the_key_of_the_table(self) -> iam.PolicyStatement:
        """DynamoDB looks whether its caller may use the table's key in all of the ways in which it does.

        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
        """
        ways = ("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo")
        through = f"dynamodb.{self.resources.region}.amazonaws.com"
        actions = [f"kms:{way}" for way in ways]
        return allow("UseTheKeyOfTheTable", actions, [self.key_arn], {"StringEquals": {"kms:ViaService": through}})

    def _sign_in(self, sid: str, role: str) -> iam.PolicyStatement:
        return allow(sid, ["rds-db:connect"], self.may_sign_in(role))

    def _workflow(self) -> Statements:
        """Orders are begun, looked at, and told that their customer has answered: by consumers, sweep and webhook."""
        return [
            allow(
                "BeginAndAnswerOrders",
                ["states:StartExecution", "states:SendTaskSuccess"],
                [self.resources.state_machine_arn],
            ),
            allow("LookAtOrders", ["states:DescribeExecution"], [self.resources.execution_arn("*")]),
        ]

    def _websocket(self) -> Statements:
        rows = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:Scan"]
        return [
            allow("RememberConnections", rows, [self._table]),
            allow("FindConnections", ["dynamodb:Query"], [f"{self._table}/index/{INDEX}"]),
            allow("PushToCustomers", ["execute-api:ManageConnections"], [self.connections_arn]),
        ]

    def _write_to_customers(self) -> iam.PolicyStatement:
        """SES asks for both, whichever of its calls sends a message that is composed already, as ours are.

        https://github.com/anymail/django-anymail/issues/384
        """
        names = (self.sender.rpartition("@")[2], self.sender)  # whichever of the two was verified
        identities = [self._arn("ses", f"identity/{name}") for name in names]
        return allow(
            "WriteToCustomers",
            ["ses:SendEmail", "ses:SendRawEmail"],
            [*identities, self._arn("ses", f"configuration-set/{self.resources.mail_configuration}")],
            {"StringEquals": {"ses:FromAddress": self.sender}},
        )

    def _tell_missing_from_forbidden(self) -> iam.PolicyStatement:
        """S3 says 404 of what is not there only to who may list: to others it says 403, and we would call it away.

        Without s3:prefix, which GetObject does not have.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        return allow("TellMissingFromForbidden", ["s3:ListBucket"], [f"arn:aws:s3:::{self.media_bucket}"])

    # --- names -----------------------------------------------------------------------------------------------------
    @property
    def _table(self) -> str:
        return self._arn("dynamodb", f"table/{self.resources.connections_table}")

    @property
    def _tickets_only(self) -> dict[str, Any]:
        """The web writes tickets, and no connection."""
        return {
            "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["TICKET#*"]},
            "Null": {"dynamodb:LeadingKeys": "false"},
        }

    def _queues(self, *, dead: bool = False) -> list[str]:
        return [self.resources.queue_arn(key, dead=dead) for key in self.resources.queues]

    def _objects(self, *prefixes: str) -> list[str]:
        return [f"arn:aws:s3:::{self.media_bucket}/{prefix}*" for prefix in prefixes]

    def _arn(self, service: str, what: str) -> str:
        return f"arn:aws:{service}:{self.resources.region}:{self.resources.account}:{what}"


def allow(
    sid: str, actions: Sequence[str], resources: Sequence[str], conditions: Mapping[str, Any] | None = None
) -> iam.PolicyStatement:
    """A statement that lets somebody do something, with the name of what for."""
    return iam.PolicyStatement(sid=sid, actions=[*actions], resources=[*resources], conditions=conditions)


def attach(scope: Construct, name: str, role: iam.IRole, policy_name: str, statements: Statements) -> None:
    """Give a role a policy of its own, and cdk-nag the reasons of its wildcards."""
    policy = iam.ManagedPolicy(scope, name, managed_policy_name=policy_name, statements=statements, roles=[role])
    accept(policy, wildcards(scope, statements))


def wildcards(scope: Construct, statements: Statements) -> dict[str, str]:
    """The findings of cdk-nag that statements name resources by `*`, each with its reason: for `accept`."""
    found: dict[str, str] = {}
    for statement in statements:
        for resource in statement.resources:
            if "*" in resource and statement.effect == iam.Effect.ALLOW:
                found[f"IAM5[Resource::{_as_nag_says(scope, resource)}]"] = _reason(statement, resource)
    return found


def _reason(statement: iam.PolicyStatement, resource: str) -> str:
    if resource == "*":
        pages = " ".join(dict.fromkeys(EVERYWHERE[action] for action in statement.actions))
        return f"AWS knows no narrower resource: {pages}"
    return OF_THE_VPC if statement.sid == "JoinTheNetwork" else WITHIN


def _as_nag_says(scope: Construct, resource: str) -> str:
    """A resource as cdk-nag writes what only CloudFormation knows: by its name, or that of the other stack's export."""
    mine = cdk.Stack.of(scope)
    resolved = mine.resolve(resource)
    parts = [resolved] if isinstance(resolved, str) else resolved["Fn::Join"][1]
    names = {
        json.dumps(mine.resolve(token)): mine.resolve(cdk.Stack.of(token.target).export_value(token))["Fn::ImportValue"]
        for token in cdk.Tokenization.reverse_string(resource).tokens
        if cdk.Reference.is_reference(token) and cdk.Stack.of(token.target).node.path != mine.node.path
    }
    return "".join(
        re.sub(r"\$\{([^}]+)\}", r"<\1>", part)
        if isinstance(part, str)
        else names.get(json.dumps(part), f"<{part.get('Ref')}>")
        for part in parts
    )
