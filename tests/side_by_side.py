"""How `make test` runs in two processes over the engines of one run, and the seeds it tells at the end.

What shares a fixture of the session or what it keeps in the local AWS is one unit: it runs in one process, in order.
A plugin of tests/conftest.py; without `-n`, pytest runs in one process as ever.
"""

import os
import time
from collections.abc import Callable

import pytest
from xdist.scheduler import LoadScopeScheduling

THE_REST = "in-process"  # the web server, the browser, the queues of this run
# What runs in processes of its own, the longest first: the second process works through it, and so does the first
# when it has done all else. By the beginning of the test's path.
UNITS = {
    "tests/infrastructure/": "package",
    "tests/faults/test_everything_dies.py": "whole shop",
    "tests/journeys/": "whole shop",
    "tests/scale/": "scale",
    "tests/local/test_lambda_runtime.py": "lambda runtime",
    "tests/orders/test_workflow_file.py": "workflow file",
    "tests/local/test_supervisor.py": "supervisor",
    "tests/local/test_messaging.py": "messaging",
    "tests/local/test_websocket_gateway.py": "websocket gateway",
    "tests/platform/test_migrations.py": "migrations",
    "tests/local/test_aws.py": "aws",
    "tests/local/test_postgres.py": "postgres",
    "tests/local/test_terminal.py": "terminal",
}
IN_ORDER = [THE_REST, *dict.fromkeys(UNITS.values())]


def unit_of(nodeid: str) -> str:
    """The unit of a test."""
    return next((unit for path, unit in UNITS.items() if nodeid.startswith(path)), THE_REST)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Give each process whole units, in the order of the collection."""
    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = unit_of
    return scheduler


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The first process begins with what only one can do."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: IN_ORDER.index(unit_of(item.nodeid)))


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """Of what a test does by chance; FAULT_SEED brings one back."""
    seed = int(os.environ.get("FAULT_SEED") or time.time_ns() % 10**9)
    record_property("seed", seed)
    return seed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The seeds, also of what passed."""
    ended = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    if told := [(report.nodeid, *each) for report in ended for each in report.user_properties]:
        terminalreporter.section("seeds")
        for nodeid, _, seed in told:
            terminalreporter.line(f"{seed} {nodeid}")
