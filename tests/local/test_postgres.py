"""Embedded PostgreSQL: made once, survives kills, runs under root and without, says plainly what is wrong."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.local.conftest import clean_environment, running, wait_until
from vibecode.local import postgres as module
from vibecode.local.child import Account, launch_command
from vibecode.local.folder import CannotStart
from vibecode.local.ports import free_port
from vibecode.local.postgres import Postgres

as_root = pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="root on Linux gives rights away")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path / "postgres")
    yield server
    server.stop()


def test_what_was_committed_survives_a_kill_of_the_server(postgres: Postgres) -> None:
    with psycopg.connect(postgres.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)

    again = Postgres(postgres.folder)
    with psycopg.connect(again.start()) as connection:
        row = connection.execute("SELECT answer FROM kept").fetchone()

    again.stop()
    assert row == (42,)


def test_the_shop_owns_its_database_and_is_no_superuser(postgres: Postgres) -> None:
    with psycopg.connect(postgres.start()) as connection:
        facts = connection.execute(
            "SELECT current_user, current_database(), rolsuper, current_setting('server_encoding'), "
            "current_setting('TimeZone') FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        for extension in ("pg_trgm", "citext", "unaccent"):
            connection.execute(f"CREATE EXTENSION {extension}".encode())

    assert facts == ("vibecode", "vibecode", False, "UTF8", "UTC")


def test_a_wrong_password_does_not_get_in(postgres: Postgres) -> None:
    url = postgres.start()
    password = url.split(":")[2].split("@")[0]

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password, "wrong"))


@as_root
def test_under_root_the_server_is_nobody_even_below_a_closed_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = Postgres(closed / "postgres")
    server.start()

    owner = Path(f"/proc/{server.pid}").stat().st_uid

    server.stop()
    assert owner != 0


@as_root
def test_an_ordinary_user_runs_it_as_himself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1, 1)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "vibecode.local.postgres",
        "--data",
        str(home / "pg"),
        "--port",
        str(port),
    ]
    ordinary = Account(1, 1, keep_access=True)  # our interpreter may lie in root's home
    process = subprocess.Popen(
        launch_command(command, parent=os.getpid(), stop_signal=signal.SIGINT, account=ordinary),
        env=clean_environment(),
        cwd=home,
    )
    try:
        server = Postgres(home / "pg")
        wait_until(lambda: server.is_ready(process.pid))
        psycopg.connect(server.url(port)).close()
        owner = Path(f"/proc/{process.pid}").stat().st_uid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()

    assert owner == 1


def test_a_pid_file_whose_number_now_belongs_to_another_program_is_no_obstacle(postgres: Postgres) -> None:
    postgres.start()
    postgres.stop()
    sleep = ["sleep", "60"]
    same_user = postgres._account()
    stranger = subprocess.Popen(
        launch_command(sleep, parent=os.getpid(), stop_signal=signal.SIGKILL, account=same_user)
    )
    try:
        stale = f"{stranger.pid}\n{postgres.data}\n1\n5432\n\n127.0.0.1\n\nready\n"
        (postgres.data / "postmaster.pid").write_text(stale)
        psycopg.connect(postgres.start()).close()
    finally:
        stranger.kill()
        stranger.wait()


def test_a_kill_while_the_database_is_made_leaves_nothing_half_made(postgres: Postgres) -> None:
    (postgres.folder / "new").mkdir(parents=True)
    (postgres.folder / "new" / "PG_VERSION").write_text("18")

    psycopg.connect(postgres.start()).close()


def test_a_taken_port_is_one_clear_line(postgres: Postgres) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port} for PostgreSQL is taken"):
            postgres.start(port)


def test_a_second_server_on_one_folder_is_refused(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres.start()
    monkeypatch.setattr(module, "FORMER_SERVER_ENDS_WITHIN", 0.2)

    with pytest.raises(CannotStart, match=f"pid {postgres.pid}.*already runs"):
        Postgres(postgres.folder).start()


def test_the_server_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from vibecode.local.postgres import Postgres;"
        "server = Postgres(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "postgres")],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert pid in running()

    starter.kill()
    starter.communicate()

    wait_until(lambda: pid not in running(), seconds=10)
