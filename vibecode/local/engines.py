"""Real engines in place of the local ones: do they answer? Asked by the supervisor before anything starts."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from vibecode.local import ports
from vibecode.local.folder import CannotStart


def check_real_engines(environment: Mapping[str, str]) -> None:
    """Say in one line that a database or AWS address the user gave does not answer."""
    if url := environment.get("DATABASE_URL"):
        import psycopg  # here, as the embedded server needs no check

        where = urlsplit(url)
        place = f"{where.hostname}:{where.port or 5432}{where.path}"
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except (psycopg.Error, ValueError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise CannotStart(f"the database of DATABASE_URL does not answer ({place}): {reason}") from error
    if endpoint := environment.get("AWS_ENDPOINT_URL"):
        where = urlsplit(endpoint)
        port = where.port or (443 if where.scheme == "https" else 80)
        if not where.hostname or not ports.connects(where.hostname, port, timeout=5):
            raise CannotStart(f"AWS_ENDPOINT_URL does not answer: {endpoint}")
