"""What an operation needs to be allowed: IAM's actions and resources, where names differ too. Called by check.py.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from infrastructure.privilege.recorder import ID, MEDIA, Call

PICTURES = "products/"  # of the media bucket
SIGN_IN = {"vibecode_app", "vibecode_owner"}  # PostgreSQL's roles


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that must be allowed. ``resource`` still names what differs by stage in braces."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


class UnknownCall(Exception):
    """An operation that the table has not."""


# Where the action is not the operation's own name.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-control-access-iam.html
ACTIONS: Mapping[str, str] = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "s3:HeadObject": "s3:GetObject",
    "s3:PostObject": "s3:PutObject",  # by whoever has signed the form
    "s3:ListObjects": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "execute-api:PostToConnection": "execute-api:ManageConnections",
    "execute-api:GetConnection": "execute-api:ManageConnections",
    "execute-api:DeleteConnection": "execute-api:ManageConnections",
}
# The operations whose action has their own name.
SAME = {
    "cognito-idp:AdminAddUserToGroup", "cognito-idp:AdminCreateUser", "cognito-idp:CreateGroup",
    "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:Scan",
    "dynamodb:UpdateItem",
    "events:PutEvents",
    "s3:DeleteObject", "s3:GetObject", "s3:PutObject",
    "secretsmanager:GetSecretValue",
    "ses:SendEmail",
    "sns:Publish",
    "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
    "sqs:SendMessage",
    "states:DescribeExecution", "states:ListExecutions", "states:SendTaskFailure", "states:SendTaskSuccess",
    "states:StartExecution",
}  # fmt: skip
METHODS = {"PostToConnection": "POST", "GetConnection": "GET", "DeleteConnection": "DELETE"}


def needs(call: Call) -> list[Need]:
    """All that must be allowed for a call to do what it did here. Raises UnknownCall."""
    if call.call not in ACTIONS and call.call not in SAME:
        raise UnknownCall(f"What {call.call} needs is not known here: add it to infrastructure/privilege/needs.py")
    service, _, operation = call.call.partition(":")
    on = dict(call.on)
    if operation in METHODS:
        on["method"] = METHODS[operation]
    return NEEDED[service](ACTIONS.get(call.call, call.call), on)


def _arn(service: str, what: str) -> str:
    return f"arn:aws:{service}:{{region}}:{{account}}:{what}"


def _of_table(action: str, on: Mapping[str, str]) -> list[Need]:
    """Of an index the index alone is asked for.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
    """
    table = _arn("dynamodb", f"table/{on['table']}")
    index = f"/index/{on['index']}" if "index" in on else ""
    return [Need(action, f"{table}{index}", {"dynamodb:LeadingKeys": on["row"]} if "row" in on else {})]


def _of_bucket(action: str, on: Mapping[str, str]) -> list[Need]:
    """Of what is not there S3 says so only to who may list its bucket; to others it says that they may not read it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    if on.get("signed") == "link" and on.get("key", "").startswith(PICTURES):
        return []  # only without MEDIA_URL, on laptops: a stage shows pictures by CloudFront, signed by nobody of ours
    bucket = f"arn:aws:s3:::{{{MEDIA}}}" if on["bucket"] == MEDIA else f"arn:aws:s3:::{on['bucket']}"
    if action == "s3:ListBucket":
        return [Need(action, bucket, {"s3:prefix": on["prefix"]} if "prefix" in on else {})]
    found = [Need(action, f"{bucket}/{on['key']}")]
    return [*found, Need("s3:ListBucket", bucket)] if action == "s3:GetObject" and on.get("found") == "no" else found


def _of_secret(action: str, on: Mapping[str, str]) -> list[Need]:
    """The rehearsal's PostgreSQL has no IAM: who reads a role's password there signs in by a token of IAM on AWS.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.IAMPolicy.html
    """
    name = on["secret"]
    if name in SIGN_IN:
        return [Need("rds-db:connect", _arn("rds-db", f"dbuser:{{database of {name}}}/{name}"))]
    return [Need(action, _arn("secretsmanager", f"secret:{{{name}}}"))]


def _of_mail(action: str, on: Mapping[str, str]) -> list[Need]:
    """The sender's identity, of their address or of its domain, whichever was verified; and the configuration set.

    Of a message that is composed already SES asks for both actions, whichever operation brings it.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsimpleemailservicev2.html
    https://github.com/anymail/django-anymail/blob/main/docs/esps/amazon_ses.rst
    """
    resources = ["identity/{sender}", "identity/{domain of the sender}"]
    resources += [f"configuration-set/{on['configuration set']}"] if on.get("configuration set") else []
    actions = [action, "ses:SendRawEmail"] if on.get("composed") == "yes" else [action]
    context = {"ses:FromAddress": "{sender}"}
    return [Need(each, _arn("ses", resource), context) for each in actions for resource in resources]


def _of_workflow(action: str, on: Mapping[str, str]) -> list[Need]:
    """Whoever answers a task says by a token alone of which state machine: there is one.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html
    """
    machine = on.get("workflow", "vibecode-{stage}-orders")
    kind = f"execution:{machine}:{ID}" if action == "states:DescribeExecution" else f"stateMachine:{machine}"
    return [Need(action, _arn("states", kind))]


# By service.
NEEDED: Mapping[str, Callable[[str, Mapping[str, str]], list[Need]]] = {
    "cognito-idp": lambda action, _: [Need(action, _arn("cognito-idp", "userpool/{pool}"))],
    "dynamodb": _of_table,
    "events": lambda action, on: [Need(action, _arn("events", f"event-bus/{on['bus']}"))],
    "execute-api": lambda action, on: [
        Need(action, _arn("execute-api", f"{{websocket}}/{on['method']}/@connections/{ID}"))
    ],
    "s3": _of_bucket,
    "secretsmanager": _of_secret,
    "ses": _of_mail,
    "sns": lambda action, on: [Need(action, _arn("sns", on["topic"]))],
    "sqs": lambda action, on: [Need(action, _arn("sqs", on["queue"]))],
    "states": _of_workflow,
}
