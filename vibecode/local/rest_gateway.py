"""API Gateway's REST side: events of requests, responses of answers, for the API that Zappa made in the local AWS.

Used by the rehearsal and tests. What is not configurable is AWS's own: limits, headers, the words of its errors.
https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
"""

import base64
import json
import logging
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from vibecode.local.fleet import has_failed
from vibecode.local.web_server import Answered, Asked, Headers, WebServer

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
LONGEST_BODY = 10 * 1024 * 1024
INTEGRATION_SECONDS = 29
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LONGEST_EVENT = 6 * 1024 * 1024
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html
REMAPPED = {
    "authorization", "connection", "content-md5", "date", "max-forwards", "server", "user-agent", "www-authenticate",
}  # fmt: skip
DROPPED = {"content-length", "expect", "host", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"}
NOT_PASSED_ON = {
    "connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade",
    "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto",
}  # fmt: skip
CALLERS = 64

log = logging.getLogger(__name__)

type Invoke = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Api:
    """A deployed REST API: every method of its root and of all below it is one function's."""

    id: str
    stage: str
    region: str
    account: str
    function: str
    is_binary: bool  # */* among its binary media types: every body travels as base64

    @classmethod
    def found_in(cls, client: Any, name: str, *, region: str, account: str) -> "Api":
        """The API of this name as the local AWS has it; ``client`` is boto3's of API Gateway. Raises LookupError."""
        found = [api for api in client.get_rest_apis()["items"] if api["name"] == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} APIs are called {name}, not one.")
        api = found[0]
        paths: dict[str, str] = {}
        for resource in client.get_resources(restApiId=api["id"])["items"]:
            if "ANY" in resource.get("resourceMethods", {}):
                to = client.get_integration(restApiId=api["id"], resourceId=resource["id"], httpMethod="ANY")
                if to["type"] != "AWS_PROXY":
                    raise LookupError(f"{resource['path']} is no Lambda proxy.")
                paths[resource["path"]] = to["uri"].partition("/functions/")[2].removesuffix("/invocations")
        if paths.keys() != {"/", "/{proxy+}"} or len(set(paths.values())) != 1:
            raise LookupError(f"{name} has other paths than Zappa makes: {paths}.")
        (stage,) = client.get_stages(restApiId=api["id"])["item"]
        binary = "*/*" in api.get("binaryMediaTypes", [])
        return cls(api["id"], stage["stageName"], region, account, paths["/"], binary)

    @property
    def host(self) -> str:
        """Its regional address."""
        return f"{self.id}.execute-api.{self.region}.amazonaws.com"


class RestGateway(WebServer):
    """Serves an API at https://127.0.0.1:PORT/<stage>/…, whatever host is asked for, as AWS does."""

    def __init__(
        self, port: int, api: Api, invoke: Invoke, tls: ssl.SSLContext, *, seconds: float = INTEGRATION_SECONDS
    ) -> None:
        self.api, self._invoke, self._seconds = api, invoke, seconds
        self._calls = ThreadPoolExecutor(CALLERS, "integration")
        super().__init__(port, self.pass_on, tls, longest=LONGEST_BODY, too_long=_said(413, "Request Too Long"))

    def pass_on(self, asked: Asked) -> Answered:
        """Ask the function behind the API, and give its answer, or API Gateway's own error."""
        path, _, query = asked.target.partition("?")
        prefix = f"/{self.api.stage}"
        if path != prefix and not path.startswith(f"{prefix}/"):
            return _said(403, "Forbidden")
        event = proxy_event(self.api, asked, path.removeprefix(prefix) or "/", query)
        if len(json.dumps(event).encode()) > LONGEST_EVENT:
            return _said(413, "Request Too Long")
        call: Future[Any] = self._calls.submit(self._invoke, self.api.function, event)
        try:
            answer = call.result(timeout=self._seconds)
        except TimeoutError:
            return _said(504, "Endpoint request timed out")
        except Exception:  # whatever became of it, the client is answered
            log.exception("no answer of %s", self.api.function)
            return BROKEN
        return response(answer, is_binary=self.api.is_binary)

    def server_close(self) -> None:
        """Wait for nobody."""
        super().server_close()
        self._calls.shutdown(wait=False, cancel_futures=True)


def proxy_event(api: Api, asked: Asked, path: str, query: str) -> dict[str, Any]:
    """The event of a request, field by field as API Gateway's Lambda proxy integration makes it."""
    headers: dict[str, list[str]] = {}
    chain = ", ".join([*(value for name, value in asked.headers if name.lower() == "x-forwarded-for"), asked.peer])
    for name, value in asked.headers:
        if name.lower() not in NOT_PASSED_ON:
            headers.setdefault(name, []).append(value)
    headers |= {"X-Forwarded-For": [chain], "X-Forwarded-Port": ["443"], "X-Forwarded-Proto": ["https"]}
    headers["X-Amzn-Trace-Id"] = [f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"]
    values: dict[str, list[str]] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        values.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    body, encoded = None, False
    if asked.body:
        encoded = api.is_binary
        body = base64.b64encode(asked.body).decode() if encoded else asked.body.decode(errors="replace")
    resource = "/" if path == "/" else "/{proxy+}"
    return {
        "resource": resource,
        "path": path,
        "httpMethod": asked.method,
        "headers": _last(headers),
        "multiValueHeaders": headers,
        "queryStringParameters": _last(values) or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": None if path == "/" else {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": _context(api, asked, path, resource),
        "body": body,
        "isBase64Encoded": encoded,
    }


def _context(api: Api, asked: Asked, path: str, resource: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    nobody = dict.fromkeys((
        "cognitoIdentityPoolId", "accountId", "cognitoIdentityId", "caller", "principalOrgId", "accessKey",
        "cognitoAuthenticationType", "cognitoAuthenticationProvider", "userArn", "user",
    ))  # fmt: skip
    return {
        "resourceId": "proxy" if resource != "/" else "root",
        "resourcePath": resource,
        "httpMethod": asked.method,
        "extendedRequestId": uuid.uuid4().hex[:16],
        "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "path": f"/{api.stage}{path}",
        "accountId": api.account,
        "protocol": "HTTP/1.1",
        "stage": api.stage,
        "domainPrefix": api.id,
        "requestTimeEpoch": int(now.timestamp() * 1000),
        "requestId": str(uuid.uuid4()),
        "identity": nobody | {"sourceIp": asked.peer, "userAgent": asked.header("User-Agent") or None},
        "domainName": api.host,
        "apiId": api.id,
    }


def _last(values: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: several[-1] for name, several in values.items()}


def response(answer: Any, *, is_binary: bool) -> Answered:
    """The response of a function's answer; 502 where it is none.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    #api-gateway-simple-proxy-for-lambda-output-format
    """
    known = {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
    if has_failed(answer) or not isinstance(answer, dict) or not answer.keys() <= known:
        return BROKEN
    text, status = answer.get("body") or "", answer.get("statusCode")
    if not isinstance(text, str) or not str(status).isdecimal() or len(json.dumps(answer).encode()) > LONGEST_EVENT:
        return BROKEN
    several = dict(answer.get("multiValueHeaders") or {})
    told = {name.lower() for name in several}
    several |= {name: [value] for name, value in (answer.get("headers") or {}).items() if name.lower() not in told}
    try:
        body = base64.b64decode(text, validate=True) if is_binary and answer.get("isBase64Encoded") else text.encode()
    except ValueError:
        return BROKEN
    headers = [(name, str(value)) for name, values in several.items() for value in values]
    return Answered(int(str(status)), _returned(headers), body)


def _returned(headers: Headers) -> Headers:
    kept = [(name, value) for name, value in headers if name.lower() not in DROPPED]
    remapped = [(f"x-amzn-Remapped-{name}" if name.lower() in REMAPPED else name, value) for name, value in kept]
    if not any(name.lower() == "content-type" for name, _ in remapped):
        remapped.append(("Content-Type", "application/json"))
    return [*remapped, ("x-amzn-RequestId", str(uuid.uuid4())), ("x-amz-apigw-id", uuid.uuid4().hex[:16])]


def _said(status: int, message: str) -> Answered:
    """What API Gateway says itself.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
    """
    body = json.dumps({"message": message}).encode()
    return Answered(status, [("Content-Type", "application/json"), ("x-amzn-RequestId", str(uuid.uuid4()))], body)


BROKEN = _said(502, "Internal server error")
