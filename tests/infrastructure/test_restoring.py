"""docs/restoring.md done to a real PostgreSQL: its dump and its swap, in its own words, by roles as RDS has them."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection
from psycopg import errors

from infrastructure.database_roles import APPLICATION, OWNER, READER
from infrastructure.rehearsal.account import MASTER, make_as_master
from tests.infrastructure.templates import resources
from tests.infrastructure.test_database_roles import IS_ONE_OF
from vibecode.local.folder import REPOSITORY
from vibecode.local.postgres import Postgres, binary
from vibecode.resources import PROXIED_TIME_OUTS

PAGE = (REPOSITORY / "docs/restoring.md").read_text()
# What signs in with a token of IAM, or with the secret, on AWS: here all have one password.
SIGNING_IN = """
set -euo pipefail
export PATH={programs}:$PATH PGPORT={port} PGPASSWORD=known HERE={host} THERE={host} STAGE=production
as_owner() {{ PGHOST=$1 PGUSER={owner} "${{@:2}}"; }}
as_master() {{ PGHOST=$HERE PGUSER={master} "$@"; }}
cd {folder}
"""


def steps(heading: str, language: str = "sh") -> list[str]:
    """The blocks of code under a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


class Stage:
    """The database of a stage, with the schema of this run's; ``do`` is a shell beside it."""

    def __init__(self, server: str, folder: Path) -> None:
        self.server, self.where, self.folder = server, urlsplit(server), folder
        with closing(psycopg.connect(server, dbname="postgres", autocommit=True)) as admin:
            admin.execute("DROP DATABASE vibecode")
            make_as_master(admin, "vibecode", self.where)
            admin.execute(f"GRANT pg_signal_backend TO {MASTER}".encode())  # as rds_superuser has it
            for role in (OWNER, APPLICATION, READER, MASTER):
                admin.execute(f"ALTER ROLE {role} PASSWORD 'known'".encode())
        self.do(f"{_of_this_run()} | as_owner $HERE psql -d vibecode -v ON_ERROR_STOP=1 --single-transaction -q")
        with self.session(OWNER) as owner:
            owner.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON vibecode_change FROM {APPLICATION}".encode())

    def do(self, script: str) -> str:
        """What it prints."""
        begin = SIGNING_IN.format(
            programs=Path(binary("psql")).parent,
            host=self.where.hostname,
            port=self.where.port,
            owner=OWNER,
            master=MASTER,
            folder=self.folder,
        )
        done = subprocess.run(["bash", "-c", begin + script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def session(self, role: str, database: str = "vibecode") -> psycopg.Connection[Any]:
        """Each statement by itself."""
        return psycopg.connect(
            f"postgresql://{role}:known@{self.where.hostname}:{self.where.port}/{database}", autocommit=True
        )

    def categories(self, database: str = "vibecode") -> set[str]:
        """What is in it."""
        with self.session(READER, database) as reader:
            return {slug for (slug,) in reader.execute("SELECT slug FROM catalog_category").fetchall()}


def _of_this_run() -> str:
    """A command that prints the schema that the tests run on, with nobody's name in it."""
    told = connection.settings_dict
    return (
        f"PGPASSWORD='{told['PASSWORD']}' pg_dump --schema-only --no-owner --no-privileges"
        f" -h {told['HOST']} -p {told['PORT']} -U {told['USER']} -d {told['NAME']}"
    )


@pytest.fixture
def stage(db: None) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="vibecode-restoring-") as folder:
        postgres = Postgres(Path(folder) / "postgres", durable=False, master=True)
        try:
            yield Stage(postgres.start(), Path(folder))
        finally:
            postgres.stop()


def test_what_was_restored_takes_the_place_of_what_is_damaged_and_nobody_is_shut_out(stage: Stage) -> None:
    roles, dump = steps("4. Dump it into the stage's cluster")
    (swap,) = steps("5. Swap")
    (statements,) = steps("5. Swap", "sql")
    _, look_and_drop = steps("7. Clear up")[0].split("--skip-final-snapshot\n")
    (stage.folder / "swap.sql").write_text(statements)
    with stage.session(OWNER) as owner:
        owner.execute("INSERT INTO catalog_category (name, slug, position) VALUES ('Lamps', 'lamps', 0)")

    stage.do(f"cd {REPOSITORY}; {roles.removesuffix(chr(10))} > {stage.folder}/roles.sql")
    stage.do(dump)
    with stage.session(OWNER) as owner, stage.session(APPLICATION) as still_there:
        owner.execute("DELETE FROM catalog_category")
        stage.do(swap)
        with pytest.raises(errors.AdminShutdown):
            still_there.execute("SELECT 1")

    assert stage.categories() == {"lamps"}
    assert stage.categories("vibecode_damaged") == set()
    with stage.session(APPLICATION) as application:
        application.execute("UPDATE catalog_category SET name = 'Lights'")
        for forbidden in ("DELETE FROM vibecode_change", "DROP TABLE catalog_category"):
            with pytest.raises(errors.InsufficientPrivilege):
                application.execute(forbidden.encode())
        said = {name: application.execute(f"SHOW {name}".encode()).fetchone() for name in PROXIED_TIME_OUTS}
    assert said == {name: (value,) for name, value in PROXIED_TIME_OUTS.items()}
    with stage.session(OWNER) as owner:
        owner.execute("ALTER TABLE catalog_category ADD COLUMN of_the_next_release text")
        owner.execute("CREATE TABLE of_the_next_release (id bigint GENERATED BY DEFAULT AS IDENTITY, said text)")
    with stage.session(APPLICATION) as application:
        application.execute("INSERT INTO of_the_next_release (said) VALUES ('one')")
    with psycopg.connect(stage.server, dbname="postgres") as admin:
        assert admin.execute(IS_ONE_OF, [MASTER, MASTER]).fetchall() == [("pg_signal_backend",)]

    stage.do(look_and_drop)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        stage.session(OWNER, "vibecode_damaged")


@pytest.mark.parametrize("name", ["dev", "production"])
def test_roles_sign_in_at_a_cluster_that_was_restored_under_the_name_of_one_that_is_gone(
    tmp_path: Path, name: str
) -> None:
    import aws_cdk as cdk  # takes seconds

    from infrastructure.app import FLAGS, QUIET, build
    from infrastructure.config import STAGES

    app = cdk.App(outdir=str(tmp_path), context=dict.fromkeys(FLAGS, True) | QUIET)
    stacks = build(app, replace(STAGES[name], cluster_id="cluster-RESTORED"))
    templates = {each.stack_name: each.template for each in cdk.Stage.of(stacks[0]).synth().stacks}

    statements = [
        statement
        for policy in resources(templates, "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy")
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if statement.get("Action") == "rds-db:connect"
    ]
    assert len(statements) >= 3
    signs_in = re.compile("cluster-RESTORED/vibecode_|Proxy.*/vibecode_app")
    assert [each["Resource"] for each in statements if not signs_in.search(each["Resource"])] == []
    assert "DBClusterResourceId" in str(templates[f"vibecode-{name}-data"]["Outputs"]), "until the others follow"
