"""The supervisor over real PostgreSQL, local AWS and gunicorn: it restarts, stops, leaves no orphan, speaks plainly."""

import os
import re
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.local.conftest import RunningShop, descendants, end, output_of, run_python, running, start_shop, wait_until
from vibecode.local.folder import is_alive, read_json
from vibecode.local.ports import answers, connects, free_port

JOINED = """
import os, sys
from pathlib import Path
from vibecode.local.environment import local_cloud
from vibecode.local.folder import LocalFolder
with local_cloud(["manage.py", sys.argv[2]], LocalFolder(Path(sys.argv[1]))):
    values = [os.environ.get(name, "-") for name in sys.argv[3:]]
    print(*values)
"""


def test_the_last_line_is_ready_after_a_plain_panel(shop: RunningShop) -> None:
    assert shop.lines[-1] == f"ready http://127.0.0.1:{shop.port}"
    assert any("migrate  | nothing to migrate" in line for line in shop.lines)
    assert max(len(line) for line in shop.lines) <= 80
    assert "\033" not in "".join(shop.lines)
    assert "shopper@example.com" in "".join(shop.lines)


def test_the_children_share_one_environment_which_is_written_down(shop: RunningShop) -> None:
    database, endpoint = httpx.get(f"http://127.0.0.1:{shop.port}/").text.split()

    written = read_json(shop.folder.environment)
    assert (written["DATABASE_URL"], written["AWS_ENDPOINT_URL"]) == (database, endpoint)
    assert shop.folder.environment.stat().st_mode & 0o777 == 0o600
    table = shop.processes()
    assert {name: entry["port"] for name, entry in table.items()} == {
        "postgres": int(re.findall(r":(\d+)/", database)[0]),
        "aws": int(endpoint.rpartition(":")[2]),
        "web": shop.port,
    }
    assert all(is_alive(entry["pid"]) for entry in table.values())


@pytest.mark.parametrize("name", ["web", "aws", "postgres"])
def test_a_killed_process_comes_back_on_its_port(shop: RunningShop, name: str) -> None:
    port = shop.processes()[name]["port"]

    shop.kill(name)

    assert shop.processes()[name]["port"] == port
    wait_until(lambda: connects("127.0.0.1", port))
    url = read_json(shop.folder.environment)["DATABASE_URL"]

    def the_database_answers() -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=2).close()
            return True
        return False

    wait_until(the_database_answers)
    wait_until(lambda: answers(shop.port, "/"))


def test_what_the_local_aws_forgot_is_looked_for_at_the_start_and_whenever_it_is_back(shop: RunningShop) -> None:
    def recovered() -> int:
        log = shop.folder.logs / "recover.log"
        return log.read_text().count("recovered") if log.exists() else 0

    before = wait_until(recovered)
    shop.kill("aws")

    wait_until(lambda: recovered() > before)
    assert set(shop.processes()) == {"postgres", "aws", "web"}  # an errand is none of them


def test_a_worker_stuck_in_a_request_does_not_hold_the_port_of_its_killed_server(shop: RunningShop) -> None:
    workers = descendants(shop.processes()["web"]["pid"])
    with socket.create_connection(("127.0.0.1", shop.port)) as stuck:
        stuck.sendall(b"GET /stuck HTTP/1.1\r\nHost: shop\r\n\r\n")
        time.sleep(0.3)

        shop.kill("web")

    assert workers
    assert workers.isdisjoint(running())
    wait_until(lambda: answers(shop.port, "/"))


def test_a_process_that_keeps_dying_is_given_pauses_and_comes_back(shop: RunningShop) -> None:
    for _ in range(2):
        shop.kill("web")

    wait_until(lambda: answers(shop.port, "/"))


def test_a_killed_guard_is_replaced(shop: RunningShop) -> None:
    def guards() -> set[int]:
        shown = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        )
        rows = [line.split(None, 2) for line in shown.stdout.splitlines()]
        return {int(row[0]) for row in rows if int(row[1]) == shop.process.pid and "guard.py" in row[2]}

    (guard,) = guards()
    os.kill(guard, signal.SIGKILL)

    wait_until(lambda: guards() - {guard})


def test_a_second_run_in_the_folder_is_refused_in_one_line(shop: RunningShop) -> None:
    second = start_shop(shop.folder.path)
    output = output_of(second)

    assert second.process.returncode == 1
    assert output == (
        f"Cannot start: already running at http://127.0.0.1:{shop.port} (pid {shop.process.pid}): stop it first\n"
    )
    assert answers(shop.port, "/")


def test_manage_py_in_another_shell_joins_the_running_cloud(shop: RunningShop) -> None:
    written = read_json(shop.folder.environment)

    names = ("DATABASE_URL", "AWS_ENDPOINT_URL", "AWS_REGION", "SECRET_KEY")
    result = run_python(JOINED, str(shop.folder.path), "migrate", *names, AWS_REGION="eu-west-1", SECRET_KEY="mine")

    expected = [written["DATABASE_URL"], written["AWS_ENDPOINT_URL"], "us-east-1", "mine"]
    assert result.stdout.split() == expected, result.stderr


def test_a_stop_ends_everything_and_a_second_start_finds_the_same(tmp_path: Path) -> None:
    first = start_shop(tmp_path / "local")
    first.wait_until_ready()
    ports = {name: entry["port"] for name, entry in first.processes().items()}
    with psycopg.connect(read_json(first.folder.environment)["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE yesterday AS SELECT 1")
    family = descendants(first.process.pid)
    first.process.send_signal(signal.SIGTERM)

    assert first.process.wait(timeout=20) == 0
    end(first)
    assert family.isdisjoint(running())
    assert not first.folder.processes.exists()

    begun = time.monotonic()
    second = start_shop(tmp_path / "local", port=first.port)
    second.wait_until_ready()
    assert time.monotonic() - begun < 15
    assert {name: entry["port"] for name, entry in second.processes().items()} == ports
    with psycopg.connect(read_json(second.folder.environment)["DATABASE_URL"]) as connection:
        connection.execute("SELECT * FROM yesterday")

    family = descendants(second.process.pid)
    assert len(family) > 8  # gunicorn's workers and PostgreSQL's own processes are grandchildren
    second.process.kill()  # nobody is left to stop anything
    second.process.wait()
    end(second)
    wait_until(lambda: family.isdisjoint(running()), seconds=15)
    assert not connects("127.0.0.1", first.port)


def test_without_a_supervisor_manage_py_starts_what_it_needs_and_stops_it(tmp_path: Path) -> None:
    result = run_python(JOINED, str(tmp_path / "local"), "migrate", "DATABASE_URL")

    assert result.returncode == 0, result.stderr
    port = int(re.findall(r":(\d+)/", result.stdout)[0])
    assert not connects("127.0.0.1", port)


def test_a_command_that_needs_no_database_starts_none(tmp_path: Path) -> None:
    result = run_python(JOINED, str(tmp_path / "local"), "help")

    assert not (tmp_path / "local" / "postgres").exists(), result.stderr


def test_the_autoreloaders_child_starts_nothing(tmp_path: Path) -> None:
    code = (
        JOINED.replace("print(", "print(dict(") and JOINED.rpartition("    print(")[0] + "    print(len(os.environ))\n"
    )

    result = run_python(code, str(tmp_path / "local"), "runserver", RUN_MAIN="true")

    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "local").exists()


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        shop = start_shop(tmp_path / "local", port=taken.getsockname()[1])
        output = output_of(shop)

    assert shop.process.returncode == 1
    assert output == (
        f"Cannot start: port {shop.port} is taken by another program: stop it, or choose another with PORT=\n"
    )


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "DATABASE_URL",
            "postgresql://who:secret@127.0.0.1:9/shop",
            r"the database of DATABASE_URL does not answer \(127",
        ),
        ("DATABASE_URL", "nonsense", "the database of DATABASE_URL does not answer"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "AWS_ENDPOINT_URL does not answer: http://127.0.0.1:9"),
        ("WEB_THREADS", "many", "WEB_THREADS must be a whole number from 1 to 512, not 'many'"),
    ],
)
def test_wrong_settings_are_one_clear_line(tmp_path: Path, variable: str, value: str, line: str) -> None:
    shop = start_shop(tmp_path / "local", variables={variable: value})
    output = output_of(shop)

    assert shop.process.returncode == 1
    assert re.match(f"Cannot start: {line}", output)
    assert output.count("\n") == 1
    assert "secret" not in output


def test_a_failing_task_stops_the_start_and_everything_with_it(tmp_path: Path) -> None:
    shop = start_shop(tmp_path / "local", "raise ValueError('the migrations disagree')")
    output = output_of(shop)

    assert shop.process.returncode == 1
    assert output.splitlines()[-1].startswith("Cannot start: migrate failed: ValueError: the migrations disagree")
    assert "Traceback" not in output
    assert not shop.folder.processes.exists()
