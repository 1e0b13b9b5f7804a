"""A database as a stage has it: one role owns it and migrates, the application has another."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from vibecode.local.postgres import Postgres


@contextmanager
def two_roles() -> Iterator[dict[str, str]]:
    """The settings of the database `stage`, on a server of its own, whose roles are real ones; nobody has migrated."""
    with tempfile.TemporaryDirectory(prefix="vibecode-stage-") as folder:
        postgres = Postgres(Path(folder) / "postgres", durable=False, master=True)
        server = postgres.start()
        try:
            where = urlsplit(server)
            place = f"{where.hostname}:{where.port}/stage"
            owners = f"postgresql://owner:secret@{place}"
            with psycopg.connect(server, autocommit=True) as master:
                master.execute("CREATE ROLE master LOGIN SUPERUSER PASSWORD 'secret'")
                master.execute("CREATE ROLE owner LOGIN CREATEROLE PASSWORD 'secret'")
                master.execute("CREATE DATABASE stage OWNER owner")
            with psycopg.connect(owners, autocommit=True) as owner:
                owner.execute("CREATE ROLE app LOGIN PASSWORD 'secret'")  # the owner sets its time-outs
                owner.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app")
                owner.execute("ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO app")
            yield {"DATABASE_URL": f"postgresql://app:secret@{place}", "DATABASE_OWNER_URL": owners}
        finally:
            postgres.stop()
