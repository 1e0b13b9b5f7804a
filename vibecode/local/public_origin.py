"""CloudFront's part: one public address of a stage, before its API and its buckets. Used by the rehearsal and tests.

`/static` and `/media` come from S3, without that prefix (a function on the viewer's request takes it off), all else
from the API, the stage as the origin's path. A 401 of `/api` gets its challenge back, which API Gateway has renamed: by
a Lambda@Edge on the origin's response. infrastructure/front.py is the same on AWS.
"""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from vibecode.local.ports import HOST
from vibecode.local.web_server import Answered, Asked, WebServer

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/RequestAndResponseBehaviorCustomOrigin.html
LONGEST_BODY = 20 * 1024 * 1024 * 1024
HOP_BY_HOP = {
    "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade",
}  # fmt: skip
RENAMED, CHALLENGE = "x-amzn-remapped-www-authenticate", "WWW-Authenticate"
PATIENCE = 60  # seconds; the API gives up after 29


@dataclass(frozen=True, slots=True)
class Origins:
    """Where things are: the gateway's port with its stage and host, S3's address with the buckets by path."""

    gateway_port: int
    stage: str
    host: str
    trust: ssl.SSLContext  # in the gateway's certificate
    s3: Any  # boto3's client: what is asked for is signed, as by the distribution's origin access control
    buckets: Mapping[str, str]  # such as {"static": "vibecode-dev-static"}
    secret: str = ""  # added to what the API is asked
    edge: str = "127.0.0.2"  # the address that the gateway sees


class PublicOrigin(WebServer):
    """Serves a stage at https://127.0.0.1:PORT."""

    def __init__(self, port: int, origins: Origins, tls: ssl.SSLContext) -> None:
        self._origins = origins
        too_long = Answered(413, [("Content-Type", "text/html")], b"")
        super().__init__(port, self.fetch, tls, longest=LONGEST_BODY, too_long=too_long)

    def fetch(self, asked: Asked) -> Answered:
        """Ask the origin of the path."""
        first = asked.target.removeprefix("/").partition("/")[0].partition("?")[0]
        try:
            if first in self._origins.buckets:
                return self._from_s3(asked, self._origins.buckets[first])
            return self._from_api(asked)
        except (OSError, http.client.HTTPException):
            return Answered(502, [("Content-Type", "text/html")], b"The origin does not answer.")

    def _from_s3(self, asked: Asked, bucket: str) -> Answered:
        if asked.method not in {"GET", "HEAD"}:
            return Answered(403, [("Content-Type", "text/html")], b"")
        key = unquote(asked.target.partition("?")[0]).removeprefix("/").partition("/")[2]
        call = {"GET": "get_object", "HEAD": "head_object"}[asked.method]
        where = urlsplit(self._origins.s3.generate_presigned_url(call, Params={"Bucket": bucket, "Key": key}))
        connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=PATIENCE)
        return self._ask(connection, asked, f"{where.path}?{where.query}", {"Host": where.netloc})

    def _from_api(self, asked: Asked) -> Answered:
        # the viewer's address is added to what the viewer says, and the gateway sees ours
        said = [value for name, value in asked.headers if name.lower() == "x-forwarded-for"]
        connection = http.client.HTTPSConnection(
            HOST,
            self._origins.gateway_port,
            timeout=PATIENCE,
            context=self._origins.trust,
            source_address=(self._origins.edge, 0),
        )
        more = {
            "Host": self._origins.host,
            "X-Forwarded-For": ", ".join([*said, asked.peer]),
            "X-Origin-Secret": self._origins.secret,
        }
        answer = self._ask(connection, asked, f"/{self._origins.stage}{asked.target}", more)
        return challenged(answer) if asked.target.startswith("/api/") else answer

    def _ask(self, connection: http.client.HTTPConnection, asked: Asked, target: str, more: dict[str, str]) -> Answered:
        replaced = HOP_BY_HOP | {name.lower() for name in more}
        try:
            connection.putrequest(asked.method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in (*asked.headers, *more.items()):
                if name.lower() not in replaced or more.get(name) == value:
                    connection.putheader(name, value)
            if asked.body:
                connection.putheader("Content-Length", str(len(asked.body)))
            connection.endheaders(asked.body or None)
            answer = connection.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
            return Answered(answer.status, headers, answer.read())
        finally:
            connection.close()


def challenged(answer: Answered) -> Answered:
    """The answer with its challenge under its own name; infrastructure/functions/challenge.js."""
    named = [(CHALLENGE if name.lower() == RENAMED else name, value) for name, value in answer.headers]
    return Answered(answer.status, named, answer.body)
