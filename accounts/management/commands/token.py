"""`manage.py token EMAIL`: an access token for curl."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.management.sign_in import DEMO_PASSWORD, SignInRefused, sign_in


class Command(BaseCommand):
    """Prints the token and nothing else, so that ``TOKEN=$(manage.py token …)`` works."""

    help = "Print an access token of somebody, by e-mail and password."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose."""
        parser.add_argument("email")
        parser.add_argument("--password", default=DEMO_PASSWORD, help="that of the demo logins unless given")

    def handle(self, *, email: str, password: str, **_options: Any) -> None:
        """Sign in and print."""
        try:
            session = sign_in(client_id=settings.COGNITO_CLIENT_ID, email=email, password=password)
        except SignInRefused as error:
            raise CommandError(str(error)) from None
        self.stdout.write(session.access_token)
