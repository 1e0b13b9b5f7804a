"""Typed readers of environment variables, which refuse nonsense by name. Called by settings.py only."""

import re
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)  # a name, or IPv6
STAGES = ("local", "dev", "staging", "production")
SECRETS_MANAGER = r"arn:aws:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@-]+"
CACHE_SECONDS = 0.5  # a cache that is slower than this is away: what it would have said is not worth the wait


class Environment:
    """Reads settings from a mapping of strings; every refusal names the variable and says what it should be."""

    def __init__(self, values: Mapping[str, str], *, required: bool) -> None:
        self.values = values
        self.required = required  # real stages have no defaults for what decides where data goes

    def text(self, name: str, default: str | None = None) -> str:
        """The variable as it is; its default where it is unset or empty."""
        value = self.values.get(name, "").strip()
        if value:
            return value
        if default is None:
            raise ImproperlyConfigured(f"{name} is not set. See .env.example for what it is and a safe value.")
        return default

    def text_of_stage(self, name: str, local: str) -> str:
        """The variable, with a default for the laptop only: a real stage must set it."""
        return self.text(name, None if self.required else local)

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value not in choices:
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}; it is {value!r}.")
        return value

    def yes_or_no(self, name: str, *, default: bool) -> bool:
        """A switch."""
        return self.choice(name, ("yes", "no"), "yes" if default else "no") == "yes"

    def integer(self, name: str, default: int, *, least: int = 0, most: int = 2**31 - 1) -> int:
        """A whole number between two bounds, both included."""
        value = self.text(name, str(default))
        try:
            number = int(value)
        except ValueError:
            raise ImproperlyConfigured(f"{name} must be a whole number; it is {value!r}.") from None
        if not least <= number <= most:
            raise ImproperlyConfigured(f"{name} must be from {least} to {most}; it is {number}.")
        return number

    def words(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """A list separated by commas."""
        value = self.text(name, ",".join(default))
        return [word.strip() for word in value.split(",") if word.strip()]

    def rate(self, name: str, default: str) -> tuple[int, int]:
        """A rate such as ``600/minute`` as (requests, seconds)."""
        seconds = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
        value = self.text(name, default)
        number, _, period = value.partition("/")
        if not number.isdecimal() or int(number) < 1 or period not in seconds:
            raise ImproperlyConfigured(
                f"{name} must be a rate such as 600/minute (second, minute, hour, day); it is {value!r}."
            )
        return int(number), seconds[period]

    def stage(self, name: str) -> str:
        """Which stage this is; the laptop where it is unset, but never so on Lambda."""
        stage = self.choice(name, STAGES, "local")
        if stage == "local" and self.values.get("AWS_LAMBDA_FUNCTION_NAME"):
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(STAGES[1:])} on Lambda.")
        return stage

    def secret(self, name: str, local: str | None, *, shortest: int = 1) -> str:
        """A text that nobody may see, of ``shortest`` characters or more; never quoted.

        Where it is unset and SECRETS_ARN names a secret of AWS, it is read there when it is first used.
        """
        arn = self.values.get("SECRETS_ARN", "").strip()
        if arn and not re.fullmatch(SECRETS_MANAGER, arn):
            raise ImproperlyConfigured(f"SECRETS_ARN must be the ARN of a secret; it is {arn!r}.")
        if arn and not self.text(name, ""):
            return cast("str", SimpleLazyObject(lambda: _long_enough(name, _read_secret(arn, name), shortest)))
        return _long_enough(name, self.text(name, None if self.required else local), shortest if self.required else 0)

    def digests(self, name: str, *, required: bool) -> list[str]:
        """SHA-256 digests of secrets, separated by commas, 64 hexadecimal digits each; none where it is unset."""
        found = self.words(name)
        if (required and not found) or not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in found):
            raise ImproperlyConfigured(f"{name} must be the SHA-256 of a secret, 64 hexadecimal digits.")
        return found

    def currency(self, name: str, default: str) -> str:
        """An ISO 4217 code."""
        value = self.text(name, default)
        if not re.fullmatch("[A-Z]{3}", value):
            raise ImproperlyConfigured(f"{name} must be an ISO 4217 code such as GBP; it is {value!r}.")
        return value

    def pattern(self, name: str, pattern: str, meaning: str, local: str) -> str:
        """A text of a certain form, which a real stage must set."""
        value = self.text_of_stage(name, local)
        if not re.fullmatch(pattern, value):
            raise ImproperlyConfigured(f"{name} must be {meaning}; it is {value!r}.")
        return value

    def zone(self, name: str, default: str) -> str:
        """A time zone of the IANA database."""
        value = self.text(name, default)
        try:
            zoneinfo.ZoneInfo(value)
        except (LookupError, ValueError, OSError):  # unknown, no name at all, a folder of zones
            raise ImproperlyConfigured(f"{name} must be a time zone such as Europe/London; it is {value!r}.") from None
        return value

    def hosts(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """Host names as ALLOWED_HOSTS takes them; ``*`` (every name) on the laptop only."""
        names = self.words(name, default)
        for host in names:
            if host == "*" and self.required:
                raise ImproperlyConfigured(f"{name} must name its hosts in a real stage; it has '*'.")
            if host != "*" and not HOST.fullmatch(host.removeprefix(".").removeprefix("[").removesuffix("]")):
                raise ImproperlyConfigured(f"{name} must be host names such as api.shop.example; it has {host!r}.")
        return names

    def url(self, name: str, default: str | None = None) -> str:
        """An absolute address without a trailing slash: https in a real stage, or on this machine."""
        value = self.text(name, default)
        _origin(name, value, secure=self.required)
        return value.rstrip("/")

    def optional_url(self, name: str) -> str:
        """An absolute address as above, or "" where it is unset."""
        return self.url(name, "") if self.text(name, "") else ""

    def local_aws(self, name: str, local: str) -> str | None:
        """The address of an AWS on this machine; None (AWS itself) in a real stage that names none."""
        value = self.text(name, "" if self.required else local)
        if not value:
            return None
        if self.required and not is_loopback(urlsplit(value).hostname or ""):
            raise ImproperlyConfigured(f"{name} must be an address of this machine in a real stage; it is {value!r}.")
        return self.url(name, value)

    def origin(self, name: str, default: str | None = None) -> str:
        """scheme://host[:port] and nothing else, as a browser writes it: https in a real stage, or on this machine."""
        return _origin(name, self.text(name, default), secure=self.required, bare=True)

    def optional_origin(self, name: str) -> str:
        """An origin as above, or "" where it is unset."""
        return self.origin(name, "") if self.text(name, "") else ""

    def optional_socket(self, name: str) -> str:
        """A websocket's address: wss in a real stage, or on this machine; "" where it is unset."""
        value = self.text(name, "")
        if value and not value.startswith(("ws://", "wss://")):
            raise ImproperlyConfigured(f"{name} must be an address such as wss://live.shop.example; it has {value!r}.")
        if value:
            _origin(name, value.replace("ws", "http", 1), secure=self.required)
        return value.rstrip("/")

    def origins(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """Origins separated by commas; http too: a developer's front end may call the API of a real stage."""
        return [_origin(name, value, bare=True) for value in self.words(name, default)]

    def database(self, name: str, local: str, sign_in: str = "DATABASE_SIGN_IN") -> dict[str, Any]:
        """A PostgreSQL address as Django's connection settings; its query string becomes OPTIONS.

        In a real stage it is reached by TLS that proves who answers, and signs in as the variable ``sign_in`` says, so
        that its address holds no password; unless it is on this machine.
        """
        parts = _split(self.text_of_stage(name, local))
        if parts is None or parts.scheme not in {"postgres", "postgresql"} or len(parts.path) < 2:
            # not quoted: it may hold a password
            raise ImproperlyConfigured(f"{name} must look like postgresql://user:password@host:5432/database.")
        strict = self.required and not is_loopback(str(parts.hostname))
        if strict and (parts.password or parts.query):
            raise ImproperlyConfigured(f"{name} must hold no password and no options in a real stage.")
        source = self.values.get(sign_in, "").strip()
        if not re.fullmatch(rf"iam|{SECRETS_MANAGER}" if strict else rf"(iam|{SECRETS_MANAGER})?", source):
            raise ImproperlyConfigured(f"{sign_in} must be iam or the ARN of a secret; it is {source!r}.")
        roots = self.text("DATABASE_CA", str(Path(__file__).with_name("db") / "aurora-ca.pem"))
        return {
            "ENGINE": "vibecode.db",
            "NAME": unquote(parts.path[1:]),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname,
            "PORT": str(parts.port or 5432),
            "OPTIONS": ({"sslmode": "verify-full", "sslrootcert": roots} if strict else {})
            | dict(parse_qsl(parts.query)),
            "SIGN_IN": source,
            "RESUME_SECONDS": self.integer("DATABASE_RESUME_SECONDS", 3, least=1, most=25),
            "PROXIED": self.yes_or_no("DATABASE_PROXIED", default=False),
        }

    def cache(self, name: str) -> dict[str, Any]:
        """``redis://host:6379/0`` (ElastiCache in AWS), or this process's memory where it is unset."""
        value = self.text(name, "memory://")
        if value == "memory://":
            return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        parts = _split(value)
        if parts is None or parts.scheme not in {"redis", "rediss"}:
            # not quoted: it may hold a password
            raise ImproperlyConfigured(f"{name} must be redis://host:6379/0, rediss://host:6379/0 or memory://.")
        return {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": value,
            "OPTIONS": {"socket_connect_timeout": CACHE_SECONDS, "socket_timeout": CACHE_SECONDS},
        }


def _read_secret(arn: str, name: str) -> str:
    from vibecode import aws  # it reads the settings

    try:
        return aws.secret(arn)[name]
    except KeyError:
        raise ImproperlyConfigured(f"The secret {arn} has no {name}.") from None


def _long_enough(name: str, value: str, shortest: int) -> str:
    if len(value) < shortest:
        raise ImproperlyConfigured(f"{name} must be {shortest} random characters or more.")
    return value


def is_loopback(address: str) -> bool:
    """Whether a host's name or number is this machine itself: what goes there leaves it never, and needs no TLS."""
    return address in {"localhost", "::1"} or re.fullmatch(r"127(\.\d{1,3}){3}", address) is not None


def origin_of(address: str) -> str:
    """The origin of an address that was read here; "" where there is none."""
    return _origin("", address) if address else ""


def _split(value: str) -> SplitResult | None:
    """The parts of an address that has a sound host and port; None where it has not."""
    try:
        parts = urlsplit(value)
        sound = HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        return None
    return parts if sound and value.isascii() and value.isprintable() and " " not in value else None


def _origin(name: str, value: str, *, secure: bool = False, bare: bool = False) -> str:
    """The origin of an http(s) address. Refuses what an address of ours never has, and a path too where it is bare."""
    form = f"{name} must be {'an origin' if bare else 'an address'} such as https://shop.example"
    shown = f"it has {value!r}" if "@" not in value else "it has a user or a password"
    parts = _split(value)
    if parts is None or parts.scheme not in {"http", "https"}:
        raise ImproperlyConfigured(f"{form}; {shown}.")
    if not {"?", "#", "@"}.isdisjoint(value):
        raise ImproperlyConfigured(f"{form}, without user, query or fragment; {shown}.")
    if bare and parts.path not in {"", "/"}:
        raise ImproperlyConfigured(f"{form}, without a path; {shown}.")
    if secure and parts.scheme != "https" and not is_loopback(str(parts.hostname)):
        raise ImproperlyConfigured(f"{name} must be https in a real stage; {shown}.")
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in {None, usual} else "")
