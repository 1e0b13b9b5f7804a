"""The platform's own pages of the admin: outbox, keys, the trail, long work. Imported by Django's autodiscover."""

from vibecode.admin import keys, outbox, trail
from vibecode.jobs import admin as jobs

__all__ = ["jobs", "keys", "outbox", "trail"]
