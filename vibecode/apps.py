"""The app as the admin calls it."""

from django.apps import AppConfig


class VibecodeConfig(AppConfig):
    """Machinery."""

    name = "vibecode"
    verbose_name = "Machinery"
