"""The log keeps no secret: by its name, by its form, in a trace, in a library's line."""

import logging
import time

import pytest
import structlog

from tests.in_process import sign_in
from tests.platform.logs import read_log
from vibecode.observability import HIDDEN, SECRET_VALUES

TOKEN = sign_in("shopper@example.com")["AccessToken"]
log = structlog.stdlib.get_logger("tests")


@pytest.mark.parametrize(
    "secret",
    [
        TOKEN,
        TOKEN.rpartition(".")[0],
        f"Bearer {TOKEN}",
        "bearer abc.def",
        "jane.doe+shop@mail.example.co.uk",
        "postgresql://shop:pass-word@db.internal:5432/shop",
    ],
)
@pytest.mark.parametrize("text", ["{}", "before {} after", '{{"body": "{}"}}', "path=/x/{}/y", "<{}>"])
def test_a_value_that_looks_secret_is_hidden_wherever_it_stands(secret: str, text: str) -> None:
    written = text.format(secret)
    with read_log() as lines:
        log.warning(written, detail=written, many=[written], deep={"a": {"b": written}})
        logging.getLogger("library").warning("said %s", written)
        try:
            raise ValueError(written)  # noqa: TRY301 -- the trace is what matters
        except ValueError:
            log.exception("failed")

    every = str(lines)
    assert len(lines) == 3
    assert HIDDEN in every
    for part in (TOKEN[:60], "abc.def", "jane.doe", "mail.example", "pass-word"):
        assert part not in every
    assert "Traceback" in lines[2]["exception"]


@pytest.mark.parametrize(
    "end", ["", "\nCONTEXT:  SQL statement of ours", "\n\nThe above exception was the direct cause"]
)
def test_a_row_that_postgresql_quotes_is_hidden_line_breaks_and_all(end: str) -> None:
    said = f'new row violates check "c"\nDETAIL:  Failing row contains (1, ring at\nMrs Miller, 12 Elm St, 7700).{end}'
    with read_log() as lines:
        log.warning("refused", reason=said)

    assert lines[0]["reason"] == f'new row violates check "c"\nDETAIL:{HIDDEN}{end}'


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "client_secret", "SecretKey", "token", "accessToken", "Authorization", "cookie",
     "api_key", "apiKey", "email", "e_mail", "userEmail", "stripe_signature"],
)  # fmt: skip
def test_a_value_whose_name_says_that_it_is_secret_is_hidden(name: str) -> None:
    with read_log() as lines:
        log.warning("something", **{name: "plain words"})

    assert lines[0][name] == HIDDEN


def test_what_is_no_secret_stays_readable() -> None:
    with read_log() as lines:
        log.warning(
            "placed", order="ORD-1", user="8f14e45f-ceea", ms=1.5, count=3, ok=True, none=None, path="/api/v1/x"
        )

    kept = {name: lines[0][name] for name in ("event", "order", "user", "ms", "count", "ok", "none", "path")}
    assert kept == {
        "event": "placed",
        "order": "ORD-1",
        "user": "8f14e45f-ceea",
        "ms": 1.5,
        "count": 3,
        "ok": True,
        "none": None,
        "path": "/api/v1/x",
    }


@pytest.mark.parametrize("text", ["a" * 100_000, "eyJ" * 3_000, "a@" * 50_000, "bearer " * 10_000, "://a:" * 3_000])
def test_hiding_takes_no_time_whatever_is_said(text: str) -> None:
    started = time.process_time()
    SECRET_VALUES.sub(HIDDEN, text)

    assert time.process_time() - started < 1
