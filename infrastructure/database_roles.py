"""Who may do what in PostgreSQL: the owner, the application, people who read. Run by the deployment and the rehearsal.

Statements of the cluster's master, each of which may run again. On AWS they go through the RDS Data API, in the
rehearsal through psycopg. No role has a password here: on AWS each signs in with a token of IAM.
"""

from collections.abc import Iterator, Mapping

from vibecode.resources import TIME_OUTS

DATABASE = "vibecode"
OWNER, APPLICATION, READER = "vibecode_owner", "vibecode_app", "vibecode_reader"
SIGNS_IN = "rds_iam"  # RDS's own role: whose members sign in with tokens of IAM

# What a deploy was cut off from lets go of what it holds; `migrate` itself is stricter (vibecode/operations.py).
OF_OWNER: Mapping[str, str] = {"idle_in_transaction_session_timeout": "60s", "idle_session_timeout": "240s"}
# People read while customers buy: nothing of theirs takes long, or holds anything up.
OF_READER: Mapping[str, str] = {
    "default_transaction_read_only": "on",
    "statement_timeout": "60s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "60s",
    "idle_session_timeout": "240s",
}


def statements(database: str = DATABASE) -> Iterator[str]:
    """All of them, in order, for a database that is there. They need CREATEROLE and CREATEDB, and no superuser."""
    for role, rights in {OWNER: "CREATEROLE", APPLICATION: "NOCREATEROLE", READER: "NOCREATEROLE"}.items():
        yield (
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
            f"THEN CREATE ROLE {role} LOGIN; END IF; END $$"
        )
        yield f"ALTER ROLE {role} LOGIN {rights} NOCREATEDB"
        yield f"GRANT {SIGNS_IN} TO {role}"
    yield f"GRANT {OWNER} TO CURRENT_USER"  # or the master could give nothing away in the owner's name
    yield f"ALTER DATABASE {database} OWNER TO {OWNER}"
    # `migrate` sets the application's time-outs as the owner: that takes the admin's right, and no membership.
    yield f"GRANT {APPLICATION} TO {OWNER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    yield from (
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT {rights} TO {role}"
        for rights, role in (
            ("SELECT, INSERT, UPDATE, DELETE ON TABLES", APPLICATION),
            ("USAGE ON SEQUENCES", APPLICATION),
            ("SELECT ON TABLES", READER),
        )
    )
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}"
    for role, time_outs in {OWNER: OF_OWNER, APPLICATION: TIME_OUTS, READER: OF_READER}.items():
        for name, value in time_outs.items():
            yield f"ALTER ROLE {role} IN DATABASE {database} SET {name} = '{value}'"
