"""Logs: one JSON object a line, each with its request, user and order; never a secret, a token or an e-mail.

Called by settings.py (logging_config), by Django (the middleware), by doors that know whom it is about (note), and by
all who count something (metric).
"""

import logging
import re
import time
import uuid
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, get_contextvars

SECRET_NAMES = re.compile(r"(?i)password|secret|token|authorization|cookie|api_?key|e_?mail|signature")
SECRET_VALUES = re.compile(
    r"eyJ[\w-]+\.[\w-]*(?:\.[\w-]*)?"  # a JSON Web Token, or what is left of one
    r"|(?i:bearer)\s+[^\s\"']+"
    r"|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # an e-mail address; from a word's start, or long words cost n²
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user:password in an address
    # PostgreSQL quotes the row that it refused, line breaks and all
    r"|(?<=DETAIL:)[\s\S]*?(?=\n(?:HINT|CONTEXT|QUERY|STATEMENT):|\n+(?:Traceback|The above|During) |\Z)"
)
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
HIDDEN = "[hidden]"

NAMESPACE = "Vibecode"

log = structlog.stdlib.get_logger("vibecode.request")
metric_log = structlog.stdlib.get_logger("vibecode.metric")


def note(**facts: str | int) -> None:
    """Add facts (``user=…``, ``order=…``) to every later line of this request's log."""
    bind_contextvars(**facts)


def metric(name: str, value: float, unit: str = "Count", **dimensions: str) -> None:
    """Write one figure to the log, in the format from which CloudWatch makes a metric; the stage is always a dimension.

    ``unit`` is one of CloudWatch's (Count, Seconds, Milliseconds, …). Dimensions take few values: each mixture of them
    is a metric of its own. The form is that of
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    from django.conf import settings  # settings.py imports this module

    every = {"Stage": settings.STAGE, **dimensions}
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(every)],
        "Metrics": [{"Name": name, "Unit": unit}],
    }
    root = {"_aws": {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}, **every, name: value}
    metric_log.info("metric", **root)


def request_id() -> str:
    """The id of the request at hand, or "" outside one."""
    return str(get_contextvars().get("request", ""))


class RequestLogMiddleware:
    """Gives every request an id (the caller's X-Request-Id where it is sound) and one line in the log."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, then log."""
        given = request.headers.get("X-Request-Id", "")
        identity = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        clear_contextvars()
        started = time.perf_counter()
        with bound_contextvars(request=identity):
            response = self.get_response(request)
            response["X-Request-Id"] = identity
            log.log(
                _level(request.path_info, response.status_code),
                "request",
                method=request.method,
                path=request.path_info,
                status=response.status_code,
                ms=round((time.perf_counter() - started) * 1000, 1),
            )
            return response


def _level(path: str, status: int) -> int:
    if status >= 500:
        return logging.ERROR
    if path.startswith("/static/") or path in {"/healthz", "/readyz"}:
        return logging.DEBUG
    return logging.INFO


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: values whose name or form says that they are secret or personal leave no trace."""
    for name, value in event.items():
        if SECRET_NAMES.search(name):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = SECRET_VALUES.sub(HIDDEN, value)
        elif not isinstance(value, int | float | bool | type(None)) and not name.startswith("_"):
            event[name] = SECRET_VALUES.sub(HIDDEN, str(value))
    return event


def leave_out_instructions(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor for eyes: what is written for CloudWatch alone is left out."""
    event.pop("_aws", None)
    return event


def logging_config(*, level: str, form: str) -> dict[str, Any]:
    """Django's LOGGING: our lines and those of every library alike, as JSON (``json``) or for eyes (``console``)."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    renderers: list[Any] = (
        [structlog.processors.JSONRenderer(sort_keys=False)]
        if form == "json"
        else [leave_out_instructions, structlog.dev.ConsoleRenderer(colors=False)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [*ending, *renderers],
            }
        },
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "line"}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            # Our own line of the request says all that these would say again.
            "django.request": {"level": "CRITICAL"},
            "django.security": {"level": "CRITICAL"},
            "django.server": {"handlers": ["stdout"], "level": "WARNING", "propagate": False},
            "django": {"handlers": [], "level": level, "propagate": True},
            # Figures are wanted however little is logged.
            "vibecode.metric": {"level": "INFO"},
            "botocore": {"level": "WARNING"},
            "authlib": {"level": "WARNING"},  # it would tell what proves that a code is ours
            "urllib3": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
        },
    }
