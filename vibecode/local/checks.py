"""The checks that need Django and a live PostgreSQL, under the settings of production. Called by `make check`."""

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from vibecode.local.folder import REPOSITORY, CannotStart
from vibecode.local.ports import free_port
from vibecode.local.postgres import Postgres

PRODUCTION = {
    "STAGE": "production",
    "PUBLIC_URL": "https://shop.example",
    "AWS_REGION": "eu-north-1",
    "AWS_ACCOUNT_ID": "123456789012",
    "COGNITO_USER_POOL_ID": "eu-north-1_Example",
    "COGNITO_CLIENT_ID": "example",
    "COGNITO_DOMAIN": "https://sign-in.shop.example",
    "OIDC_CLIENT_ID": "example-desk",
    "OIDC_CLIENT_SECRET": "not-a-secret",
    "MEDIA_BUCKET": "vibecode-production-media",
    "MEDIA_URL": "https://shop.example/media",
    "MAIL_FROM": "Shop <orders@shop.example>",
    "STRIPE_API_KEY": "not-a-key",
    "STRIPE_WEBHOOK_SECRET": "not-a-secret",
    "WEBSOCKET_URL": "wss://live.shop.example",
    "WEBSOCKET_API_URL": "https://live.shop.example",
    "DJANGO_SETTINGS_MODULE": "vibecode.settings",
    "PYTHONWARNINGS": "error",
    "LOG_LEVEL": "WARNING",
}
STEPS: tuple[tuple[str, list[str]], ...] = (
    ("check --deploy", ["manage.py", "check", "--deploy", "--fail-level", "WARNING", "--database", "default"]),
    ("every change of a model has its migration", ["manage.py", "makemigrations", "--check", "--dry-run"]),
    ("migrations only expand, and lock nothing for long", ["-m", "vibecode.local.checks", "--migrations"]),
    ("the schema of the API", ["manage.py", "spectacular", "--validate", "--fail-on-warn", "--file", os.devnull]),
)


def main() -> int:
    """Run every step; 1 when one fails."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="vibecode-checks-") as folder:
        postgres = Postgres(Path(folder) / "postgres", durable=False)
        try:
            url = postgres.start(free_port())
        except CannotStart as error:
            sys.exit(f"Cannot start: {error}")
        try:
            environment = {**os.environ, **PRODUCTION, "DATABASE_URL": url, "SECRET_KEY": secrets.token_urlsafe(50)}
            for name, arguments in STEPS:
                print(f"    {name}", flush=True)  # noqa: T201 -- the output of a command
                failed |= subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, env=environment).returncode  # noqa: S603, PLW1510 -- our own commands; the code is read
        finally:
            postgres.stop()
    return 1 if failed else 0


def lint_migrations() -> int:
    """Whether every migration of ours only expands: this needs the settings."""
    import django

    django.setup()
    from vibecode.local.expanding import lint_migrations

    return lint_migrations()


if __name__ == "__main__":
    sys.exit(lint_migrations() if "--migrations" in sys.argv else main())
