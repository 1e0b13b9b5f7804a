"""How long somebody stays signed in at the desk: half an hour without a page, eight hours in all.

Called by the admin's site and by accounts.sign_in. Who ends a session is Django: it reads none whose moment has passed.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.utils import timezone

BEGUN = "begun"
STEP = timedelta(minutes=1)  # a page within it writes nothing


def begin(session: SessionBase) -> None:
    """Somebody has just signed in."""
    session[BEGUN] = timezone.now().timestamp()
    session.set_expiry(_ends(session))


def keep(session: SessionBase) -> None:
    """They asked for a page: the session lasts longer, but never past its longest."""
    if BEGUN not in session:
        begin(session)
    ends = _ends(session)
    if ends - session.get_expiry_date() >= STEP:
        session.set_expiry(ends)


def _ends(session: SessionBase) -> datetime:
    longest = datetime.fromtimestamp(session[BEGUN], UTC) + timedelta(seconds=settings.SESSION_LONGEST)
    return min(longest, timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE))
