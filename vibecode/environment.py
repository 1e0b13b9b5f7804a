"""Typed readers of environment variables, which refuse nonsense by name. Called by settings.py only."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


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

    def url(self, name: str, default: str | None = None) -> str:
        """An absolute http(s) address without a trailing slash."""
        value = self.text(name, default)
        parts = urlsplit(value)
        try:
            sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise ImproperlyConfigured(f"{name} must be an address such as https://shop.example; it is {value!r}.")
        return value.rstrip("/")

    def database(self, name: str, local: str) -> dict[str, Any]:
        """A PostgreSQL address as Django's connection settings; its query string becomes OPTIONS."""
        value = self.text_of_stage(name, local)
        parts = urlsplit(value)
        form = f"{name} must look like postgresql://user:password@host:5432/database"
        if parts.scheme not in {"postgres", "postgresql"} or not parts.hostname or len(parts.path) < 2:
            raise ImproperlyConfigured(f"{form}.")  # not quoted: it may hold a password
        try:
            port = parts.port or 5432
        except ValueError:
            raise ImproperlyConfigured(f"{form}; its port is not a number.") from None
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path[1:]),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname,
            "PORT": str(port),
            "OPTIONS": dict(parse_qsl(parts.query)),
        }

    def cache(self, name: str) -> dict[str, Any]:
        """``redis://host:6379/0`` (ElastiCache in AWS), or this process's memory where it is unset."""
        value = self.text(name, "memory://")
        scheme = urlsplit(value).scheme
        if scheme in {"redis", "rediss"}:
            return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": value}
        if value == "memory://":
            return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        raise ImproperlyConfigured(f"{name} must be redis://…, rediss://… or memory://.")
