"""The local AWS's own CloudTrail: which function called what, on what. Used by aws.py and the websocket gateway.

It stands at this end of the wire: it also sees what was signed by hand or is sent by a browser with our signature,
whatever a client library tells, and costs a function nothing. Who calls is the access key of the signature: a process
that is one of our functions has its function's name for one. LOCAL_TRAIL names the file; unset, nobody watches.
"""

import base64
import email
import email.policy
import io
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

VARIABLE = "LOCAL_TRAIL"

# Of what a call says, only what names its resource: never what is in a message, a row or a mail.
NAMES = {
    "DBClusterIdentifier", "EventBusName", "executionArn", "IndexName", "Name", "QueueUrl", "SecretId", "StackName",
    "stateMachineArn", "TableName", "TopicArn", "UserPoolId",
}  # fmt: skip
PARTITION = "userId"  # of the one table that there is (vibecode/websockets.py)
# What says nothing of which operation of S3's it is.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
BESIDE = re.compile(
    r"x-id|versionId|partNumber|X-Amz-.*|response-.*|prefix|delimiter|max-keys|continuation-token|encoding-type"
)
S3 = {
    ("GET", True): "GetObject",
    ("HEAD", True): "HeadObject",
    ("PUT", True): "PutObject",
    ("DELETE", True): "DeleteObject",
    ("POST", False): "PostObject",
    ("HEAD", False): "HeadBucket",
    ("GET", False): "ListObjects",
}
REST = {
    ("ses", "POST", "/v2/email/outbound-emails"): "SendEmail",
    ("execute-api", "POST", "/@connections/"): "PostToConnection",
    ("execute-api", "GET", "/@connections/"): "GetConnection",
    ("execute-api", "DELETE", "/@connections/"): "DeleteConnection",
}

type WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Trail:
    """The file. Each kind of call is written once by each process that watches, at once: a kill loses nothing."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._told: set[str] = set()
        self._turn = threading.Lock()

    @classmethod
    def wanted(cls) -> "Trail | None":
        """The one that the environment asks for."""
        return cls(Path(name)) if (name := os.environ.get(VARIABLE)) else None

    def tell(
        self, method: str, address: str, headers: Mapping[str, str], body: Callable[[], bytes], status: int
    ) -> None:
        """Write down a request that was answered with this status; one that nobody signed is no call by IAM's rights.

        ``headers`` have their names in lower case; ``body`` is asked for only where it names the resource.
        """
        where = urlsplit(address)
        query = dict(parse_qsl(where.query, keep_blank_values=True))
        form = _form(body()) if headers.get("content-type", "").startswith("multipart/form-data") else {}
        scope = _scope(headers.get("authorization", ""), query, form)
        if scope is None:
            return
        who, service = scope
        operation, about = _described(service, method, unquote(where.path), query | form, headers, body)
        if service == "s3" and status == 404:
            about["found"] = "no"
        if "X-Amz-Credential" in query:
            about["signed"] = "link"  # followed by whoever was given it
        line = json.dumps({"who": who, "call": f"{service}:{operation}", "about": about}, sort_keys=True) + "\n"
        with self._turn:
            if line not in self._told:
                self._told.add(line)
                with self._path.open("a") as file:
                    file.write(line)


def watched(application: WSGI, trail: Trail) -> WSGI:
    """Wrap moto so that the trail is told of each request, before its answer leaves."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        length = environ.get("CONTENT_LENGTH") or "0"
        content = environ["wsgi.input"].read(int(length)) if length.isdecimal() else b""
        if length != "0":
            environ["wsgi.input"] = io.BytesIO(content)
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or name == "CONTENT_TYPE"
        }
        address = f"{environ.get('PATH_INFO', '')}?{environ.get('QUERY_STRING', '')}"

        def start(status: str, *more: Any) -> Any:
            trail.tell(environ["REQUEST_METHOD"], address, headers, lambda: content, int(status.partition(" ")[0]))
            return start_response(status, *more)

        return application(environ, start)

    return call


def _scope(authorization: str, query: Mapping[str, str], form: Mapping[str, str]) -> tuple[str, str] | None:
    """Who signed for which service, from a header, an address, or the form that a browser sends.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html
    """
    header = re.search(r"Credential=([^,\s]+)", authorization)
    said = header[1] if header else query.get("X-Amz-Credential") or form.get("x-amz-credential") or ""
    parts = said.split("/")
    return (parts[0], parts[3]) if len(parts) == 5 else None


def _described(
    service: str,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: Callable[[], bytes],
) -> tuple[str, dict[str, str]]:
    """The operation, and the names of what it is done on."""
    if target := headers.get("x-amz-target"):
        return target.rpartition(".")[2], _named(json.loads(body() or b"{}"))
    if service == "s3":
        return _of_s3(method, path, query, copied="x-amz-copy-source" in headers)
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        said = {name: values[-1] for name, values in parse_qs(body().decode()).items()}
        return said.get("Action", "?"), _named(said)
    for (known, verb, beginning), operation in REST.items():
        if (known, verb) == (service, method) and beginning in path:
            return operation, _of_mail(body()) if service == "ses" else {}
    return f"{method} {path}", {}


def _named(said: Mapping[str, Any]) -> dict[str, str]:
    found = {name: str(value) for name, value in said.items() if name in NAMES}
    for entry in said.get("Entries", ()):  # of PutEvents
        found |= {name: str(entry[name]) for name in NAMES & set(entry)}
    if owner := {**said.get("Item", {}), **said.get("Key", {})}.get(PARTITION):
        # `TICKET#…` is a kind of rows, which IAM can tell from others; without one it is somebody's id.
        found["LeadingKey"] = f"{owner['S'].partition('#')[0]}#" if "#" in owner.get("S", "") else ""
    return found


def _of_s3(method: str, path: str, query: Mapping[str, str], *, copied: bool) -> tuple[str, dict[str, str]]:
    bucket, _, key = path.lstrip("/").partition("/")
    operation = "CopyObject" if copied else S3.get((method, bool(key)), method)
    if operation == "PostObject":
        return operation, {"Bucket": bucket, "Key": query.get("key", "")}
    if more := sorted(name for name in query if not BESIDE.fullmatch(name) and name != "list-type"):
        operation = f"{operation}?{'&'.join(more)}"
    named = {"Bucket": bucket} | ({"Key": key} if key else {})
    return operation, named | ({"Prefix": query["prefix"]} if "prefix" in query else {})


def _of_mail(body: bytes) -> dict[str, str]:
    """Who a mail is from, and its configuration set."""
    said = json.loads(body)
    sender = said.get("FromEmailAddress", "")
    if raw := said.get("Content", {}).get("Raw"):
        message = email.message_from_bytes(base64.b64decode(raw["Data"]), policy=email.policy.default)
        sender = sender or str(message["From"])
    return {"From": sender, "ConfigurationSetName": said.get("ConfigurationSetName", ""), "Raw": "yes" if raw else "no"}


def _form(body: bytes) -> dict[str, str]:
    """The fields before the file of a form that a browser posts to S3; their names in lower case, as S3 takes them."""
    head = body.partition(b"filename=")[0].decode(errors="replace")
    return {
        name.lower(): value
        for name, value in re.findall(r'name="([^"]+)"[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)', head)
    }
