"""Who may do what in PostgreSQL: the owner, the application, people who read. Run by the deployment and the rehearsal.

Statements of the cluster's master, each of which may run again, also after one that was never finished. On AWS they go
through the RDS Data API, a transaction each; in the rehearsal through psycopg. No role has a password here: on AWS each
signs in with a token of IAM.
"""

from collections.abc import Iterator, Mapping

from vibecode.resources import PROXIED_TIME_OUTS, TIME_OUTS

DATABASE = "vibecode"
OWNER, APPLICATION, READER = "vibecode_owner", "vibecode_app", "vibecode_reader"
SIGNS_IN = "rds_iam"  # RDS's own role: whose members sign in with tokens of IAM

# Neither of the two comes through the proxy. What a deploy was cut off from lets go of what it holds; `migrate` itself
# is stricter (vibecode/operations.py).
OF_OWNER: Mapping[str, str] = {"idle_in_transaction_session_timeout": "60s", "idle_session_timeout": "240s"}
# People read while customers buy: nothing of theirs takes long, or holds anything up.
OF_READER: Mapping[str, str] = {
    "default_transaction_read_only": "on",
    "statement_timeout": "60s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "60s",
    "idle_session_timeout": "240s",
}


def statements(database: str = DATABASE, *, proxied: bool = False) -> Iterator[str]:
    """All of them, in order, for a database that is there. They need CREATEROLE and CREATEDB, and no superuser.

    ``proxied``: the application comes through RDS Proxy.
    """
    for role, rights in {OWNER: "CREATEROLE", APPLICATION: "NOCREATEROLE", READER: "NOCREATEROLE"}.items():
        yield (
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
            f"THEN CREATE ROLE {role} LOGIN; END IF; END $$"
        )
        yield f"ALTER ROLE {role} LOGIN {rights} NOCREATEDB"
        yield f"GRANT {SIGNS_IN} TO {role}"
    # `migrate` sets the application's time-outs as the owner: that takes the admin's right, and no membership.
    yield f"GRANT {APPLICATION} TO {OWNER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
    yield _as_owner(
        f"ALTER DATABASE {database} OWNER TO {OWNER}",
        *(
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT {rights} TO {role}"
            for rights, role in (
                ("SELECT, INSERT, UPDATE, DELETE ON TABLES", APPLICATION),
                ("USAGE ON SEQUENCES", APPLICATION),
                ("SELECT ON TABLES", READER),
            )
        ),
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}",
    )
    of_application = PROXIED_TIME_OUTS if proxied else TIME_OUTS
    for role, time_outs in {OWNER: OF_OWNER, APPLICATION: of_application, READER: OF_READER}.items():
        for name, value in time_outs.items():
            yield f"ALTER ROLE {role} IN DATABASE {database} SET {name} = '{value}'"


def _as_owner(*done: str) -> str:
    """One statement that does these with the owner's rights: nobody else ever sees the master as one of its members.

    Who inherits from a member of rds_iam must sign in with a token of IAM, and RDS refuses their password: the master
    would shut itself out. It keeps what PostgreSQL gives to whoever makes a role: to grant it, and not to use it.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/database-authentication.html
    """
    become = f"GRANT {OWNER} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE"
    return f"DO $$ BEGIN {'; '.join((become, *done, f'REVOKE {OWNER} FROM CURRENT_USER'))}; END $$"
