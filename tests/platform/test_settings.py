"""Nonsense in the environment stops the start by its name; a cache that is away stops nothing."""

import ast
import functools
import json
import os
import re
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.in_process import Caller
from tests.platform.logs import read_log
from vibecode.environment import Environment
from vibecode.local import ports
from vibecode.local.checks import PRODUCTION
from vibecode.local.folder import REPOSITORY

PASSWORD = "hunter-and-the-seven-dwarfs"
SOUND = {
    **PRODUCTION,
    "DATABASE_URL": "postgresql://shop@db.internal:5432/shop",
    "DATABASE_SIGN_IN": "iam",
    "SECRET_KEY": "s3" * 20,
}
# What an interpreter may need to start at all; no setting of ours.
MACHINE = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
LAPTOP = {"DJANGO_SETTINGS_MODULE": "vibecode.settings"}
START = "import django; django.setup()"
# Reads the settings under each environment of stdin: what a start would have written to stderr, "" for nothing.
READ = """
import json, os, runpy, sys, traceback
said = []
for environment in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(environment)
    try:
        runpy.run_module("vibecode.settings")
        said.append("")
    except Exception:
        said.append(traceback.format_exc())
json.dump(said, sys.stdout)
"""
NONSENSE = [
    ("STAGE", "prod"),
    ("PORT", "0"),
    ("PUBLIC_URL", ""),
    ("PUBLIC_URL", "garbage"),
    ("PUBLIC_URL", "https://["),
    ("PUBLIC_URL", "https://"),
    ("PUBLIC_URL", "https://a b"),
    ("PUBLIC_URL", "https://shop.example:0"),
    ("PUBLIC_URL", "https://shop.example:port"),
    ("PUBLIC_URL", "http://shop.example"),
    ("PUBLIC_URL", "http://shop.example/shop"),
    ("PUBLIC_URL", "https://shop.example?a=1"),
    ("PUBLIC_URL", "https://shop.example#a"),
    ("PUBLIC_URL", f"https://shop:{PASSWORD}@shop.example"),
    ("PUBLIC_URL", f"https://shop:{PASSWORD}@["),
    ("ALLOWED_HOSTS", "*"),
    ("ALLOWED_HOSTS", "api.shop.example,*"),
    ("ALLOWED_HOSTS", "https://shop.example"),
    ("SECRET_KEY", ""),
    ("SECRET_KEY", PASSWORD),
    ("SECRET_KEY", "s" * 39),
    ("CORS_ALLOWED_ORIGINS", "garbage"),
    ("CORS_ALLOWED_ORIGINS", "https://shop.example,*"),
    ("CORS_ALLOWED_ORIGINS", "https://*.shop.example"),
    ("CORS_ALLOWED_ORIGINS", "https://shop.example/path"),
    ("DATABASE_URL", ""),
    ("DATABASE_URL", "garbage"),
    ("DATABASE_URL", "postgresql://[u/d"),
    ("DATABASE_URL", f"postgresql://shop:{PASSWORD}@[u/d"),
    ("DATABASE_URL", f"postgresql://shop:{PASSWORD}@db"),
    ("DATABASE_URL", f"postgresql://shop:{PASSWORD}/1@db/shop"),
    ("DATABASE_URL", f"mysql://shop:{PASSWORD}@db/shop"),
    ("DATABASE_URL", f"postgresql://shop:{PASSWORD}@db.internal:5432/shop"),
    ("DATABASE_URL", "postgresql://shop@db.internal/shop?sslmode=disable"),
    ("DATABASE_SIGN_IN", ""),
    ("DATABASE_SIGN_IN", "password"),
    ("DATABASE_RESUME_SECONDS", "0"),
    ("DATABASE_RESUME_SECONDS", "26"),
    ("DATABASE_PROXIED", "perhaps"),
    ("SECRETS_ARN", "garbage"),
    ("STRIPE_API_KEY", ""),
    ("STRIPE_WEBHOOK_SECRET", ""),
    ("AWS_ENDPOINT_URL", "http://aws.example"),
    ("AWS_ENDPOINT_URL", "http://127.example"),
    ("CACHE_URL", "garbage"),
    ("CACHE_URL", "redis://"),
    ("CACHE_URL", f"redis://:{PASSWORD}@["),
    ("CACHE_URL", f"memcached://:{PASSWORD}@cache"),
    ("COGNITO_ISSUER", "garbage"),
    ("COGNITO_ISSUER", "http://cognito.example"),
    ("COGNITO_JWKS_URL", "garbage"),
    ("COGNITO_JWKS_URL", "http://cognito.example/jwks.json"),
    ("COGNITO_DOMAIN", "garbage"),
    ("COGNITO_DOMAIN", "http://sign-in.shop.example"),
    ("COGNITO_DOMAIN", "https://sign-in.shop.example/path"),
    ("COGNITO_DOMAIN", ""),
    ("OIDC_ISSUER", "garbage"),
    ("OIDC_ISSUER", "http://provider.example"),
    ("OIDC_CLIENT_ID", ""),
    ("OIDC_CLIENT_SECRET", ""),
    ("STAFF_NEED_MFA", "perhaps"),
    ("MEDIA_URL", "garbage"),
    ("MEDIA_URL", "media.shop.example"),
    ("MEDIA_URL", "http://media.shop.example"),
    ("MEDIA_URL", "https://media.shop.example?a=1"),
    ("SHOP_TIME_ZONE", "Mars/X"),
    ("SHOP_TIME_ZONE", "Europe"),
    ("SHOP_TIME_ZONE", "../London"),
    ("SHOP_CURRENCY", "pounds"),
    ("RATE_ANONYMOUS", "many"),
    ("MAIL_FROM", ""),
    ("MAIL_FROM", "orders@shop.example"),
    ("MAIL_FROM", "Shop <orders@shop.example>\nBcc: eve@shop.example"),
    ("MAIL_REPLY_TO", "help"),
    ("LOG_LEVEL", "loud"),
    ("OUTBOX_LEASE_SECONDS", "3"),
    ("INBOX_LEASE_SECONDS", "120"),
    ("ORIGIN_SECRET_SHA256", "the secret itself"),
    ("ORIGIN_SECRET_SHA256", f"{'0' * 64},0"),
]
SECRET = "arn:aws:secretsmanager:eu-north-1:123456789012:secret:vibecode-production-Ab12Cd"
ON_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "shop"}
OF_THE_LAPTOP = [
    {"STAGE": "", **ON_LAMBDA},
    {"STAGE": "local", **ON_LAMBDA},
    {"PUBLIC_URL": "garbage"},
    {"CORS_ALLOWED_ORIGINS": "localhost:3000"},
    {"MEDIA_URL": "garbage"},
    {"STRIPE_API_KEY": "", "STRIPE_WEBHOOK_SECRET": "x", "PAYMENT_PROVIDER": "stripe"},
    {"OIDC_ISSUER": "garbage"},
]
SENSE = [
    {},
    {"PUBLIC_URL": "https://a1b2c3.execute-api.eu-north-1.amazonaws.com/dev"},
    {"ALLOWED_HOSTS": "api.shop.example,.shop.example,[::1]"},
    {"CORS_ALLOWED_ORIGINS": "https://www.shop.example,http://localhost:3000"},
    {"CACHE_URL": f"rediss://:{PASSWORD}@cache.internal:6379/0"},
    {"COGNITO_DOMAIN": "https://sign-in.shop.example/"},
    {"OIDC_ISSUER": "https://provider.example", "COGNITO_DOMAIN": "", "STAFF_NEED_MFA": "no"},
    {"COGNITO_ISSUER": "https://cognito.example/pool", "COGNITO_JWKS_URL": "https://cognito.example/pool/keys"},
    {"MEDIA_URL": ""},
    {"MAIL_REPLY_TO": "Vibecode help <help@shop.example>"},
    {"SHOP_TIME_ZONE": "Asia/Kolkata", "SHOP_CURRENCY": "INR"},
    {"STAGE": "staging", **ON_LAMBDA, "ORIGIN_SECRET_SHA256": f"{'0' * 64},{'1' * 64}"},
    {"STAGE": "dev", **ON_LAMBDA, "PUBLIC_URL": "https://a1b2c3.execute-api.eu-north-1.amazonaws.com/dev"},
    {
        "SECRETS_ARN": SECRET,
        "SECRET_KEY": "",
        "OIDC_CLIENT_SECRET": "",
        "STRIPE_API_KEY": "",
        "STRIPE_WEBHOOK_SECRET": "",
    },
    {"DATABASE_SIGN_IN": SECRET, "DATABASE_RESUME_SECONDS": "25", "DATABASE_PROXIED": "yes"},
    {"AWS_ENDPOINT_URL": "http://127.0.0.1:5000", "PAYMENT_PROVIDER": "demo"},
]


def start(environment: dict[str, str], code: str = START) -> subprocess.CompletedProcess[str]:
    """Django started in a process of its own, or something else done there."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=MACHINE | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@functools.cache
def outcomes() -> dict[str, str]:
    """What a start says under each environment of this module; one process reads them all."""
    environments = [{**SOUND, name: value} for name, value in NONSENSE]
    environments += [LAPTOP | more for more in OF_THE_LAPTOP] + [SOUND | more for more in SENSE]
    read = subprocess.run(
        [sys.executable, "-c", READ],
        cwd=REPOSITORY,
        env=MACHINE,
        input=json.dumps(environments),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(read.stdout)
    return {json.dumps(environment): text for environment, text in zip(environments, said, strict=True)}


def outcome(environment: dict[str, str]) -> str:
    """What a start says under that environment; "" when the settings are sound."""
    return outcomes()[json.dumps(environment)]


@pytest.mark.parametrize(("name", "value"), NONSENSE)
def test_nonsense_in_a_real_stage_is_refused_by_name(name: str, value: str) -> None:
    said = outcome({**SOUND, name: value})

    last = said.splitlines()[-1]
    assert last.startswith(f"django.core.exceptions.ImproperlyConfigured: {name} ")
    assert PASSWORD not in said
    assert SOUND["SECRET_KEY"] not in said


@pytest.mark.parametrize("more", OF_THE_LAPTOP)
def test_nonsense_on_the_laptop_is_refused_by_name(more: dict[str, str]) -> None:
    name = next(iter(more))

    assert f"ImproperlyConfigured: {name} " in outcome(LAPTOP | more)


@pytest.mark.parametrize("more", SENSE)
def test_sound_values_are_taken(more: dict[str, str]) -> None:
    assert outcome(SOUND | more) == ""


def test_a_sound_production_starts() -> None:
    started = start(SOUND)

    assert (started.returncode, started.stderr) == (0, "")


def test_a_function_behind_cloudfront_must_know_its_secret() -> None:
    refused = start({**SOUND, **ON_LAMBDA})

    assert refused.stderr.splitlines()[-1].startswith(
        "django.core.exceptions.ImproperlyConfigured: ORIGIN_SECRET_SHA256 "
    )


def test_a_start_that_is_refused_ends_with_an_error() -> None:
    refused = start({**SOUND, "DATABASE_URL": f"postgresql://shop:{PASSWORD}@[u/d"})

    assert refused.returncode != 0
    assert "ImproperlyConfigured: DATABASE_URL must look like" in refused.stderr
    assert PASSWORD not in refused.stderr


def test_passwords_of_staff_are_taken_on_the_laptop_alone_even_where_aws_is_on_this_machine() -> None:
    shown = "from vibecode import settings as s; print(s.STAFF_PASSWORDS, s.STAFF_NEED_MFA, s.AUTHENTICATION_BACKENDS)"
    stages = [LAPTOP, SOUND | {"AWS_ENDPOINT_URL": "http://127.0.0.1:5000", "PAYMENT_PROVIDER": "demo"}]

    said = [start(stage, shown).stdout.strip() for stage in stages]

    assert said == [
        "True False ['accounts.authentication.CognitoPasswordBackend']",
        "False True ['accounts.authentication.GroupRights']",
    ]


def test_an_origin_is_read_as_a_browser_writes_it() -> None:
    env = Environment({"O": "https://Shop.Example:443/", "L": "http://LOCALHOST:3000,http://[::1]:80"}, required=False)

    assert env.origin("O") == "https://shop.example"
    assert env.origins("L") == ["http://localhost:3000", "http://[::1]"]


@pytest.mark.django_db
def test_a_cache_that_refuses_connections_closes_no_shop(stranger: Caller, settings: Any) -> None:
    address = {"CACHE_URL": f"redis://127.0.0.1:{ports.free_port()}/0"}
    settings.CACHES = {"default": Environment(address, required=True).cache("CACHE_URL")}

    with read_log() as lines:
        answer = stranger.get("/products")

    assert answer.status_code == 200
    assert [line["event"] for line in lines if line["level"] == "warning"] == [
        "the cache is away: the request is not counted"
    ]


@pytest.mark.django_db
def test_a_cache_that_never_answers_is_waited_for_briefly(stranger: Caller, settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = {"CACHE_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"}
        settings.CACHES = {"default": Environment(address, required=True).cache("CACHE_URL")}
        started = time.monotonic()
        answer = stranger.get("/products")

    assert answer.status_code == 200
    assert time.monotonic() - started < 2


def test_every_variable_that_settings_read_stands_in_the_example() -> None:
    read = {
        argument.value
        for source in ("settings.py", "environment.py")
        for call in ast.walk(ast.parse((REPOSITORY / "vibecode" / source).read_text()))
        if isinstance(call, ast.Call) and re.match(r"(env|self|Environment\(.*\))\.", ast.unparse(call.func))
        for argument in call.args
        if isinstance(argument, ast.Constant)
        and re.fullmatch(r"PORT|STAGE|[A-Z0-9]+(_[A-Z0-9]+)+", str(argument.value))
    }
    example = (REPOSITORY / ".env.example").read_text()
    told = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE))

    assert {"STAGE", "DATABASE_CA"} <= read
    assert read - told == {"AWS_LAMBDA_FUNCTION_NAME"}, "which Lambda says itself"
