"""In which order a stage goes forward and back: what each step tells functions, files and containers."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from infrastructure.config import STAGES
from infrastructure.deploying import steps
from infrastructure.deploying.record import Attempt, Release
from infrastructure.deploying.say import Say
from infrastructure.deploying.steps import Deploy, Tools, back_out, roll_back

OLD = Release(name="old", source="1", package="releases/old.zip")
NEW = Release(name="new", source="2", package="releases/new.zip")


class Told:
    """What functions, files and containers were told, in order; it stands for all that is told something."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def put(self, which: str, package: str, **_: Any) -> str:
        """A function, a package."""
        return self._note(which, package)

    def publish(self, release: Release) -> str:
        """Files."""
        return self._note("files", release.package)

    def run_image(self, _stacks: Any, tag: str) -> str:
        """Containers."""
        return self._note("containers", f"releases/{tag}.zip")

    def migrate(self, package: str, learn: Any) -> None:
        """The schema, in two calls."""
        self._note("schema", package)
        learn(["orders.0001"])
        learn(["orders.0002"])

    def _note(self, what: str, package: str) -> str:
        self.said.append((what, package))
        return "done"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    made = Told()
    monkeypatch.setattr(steps, "run_image", made.run_image)
    return made


def tools(told: Told) -> Tools:
    """A stage with containers."""
    stage: Any = replace(STAGES["dev"], batch=True)
    everything: Any = told
    account: Any = SimpleNamespace(stage=stage)
    stacks: Any = SimpleNamespace(account=account, templates={})
    record: Any = SimpleNamespace(attempt=Attempt(kind="deploy", release=NEW))
    record.learn = lambda release: setattr(record, "attempt", replace(record.attempt, release=release))
    return Tools(stacks=stacks, functions=everything, operations=everything, bucket=everything, record=record)


def test_a_deploy_migrates_brings_the_files_and_then_who_consumes_before_who_produces(told: Told) -> None:
    ours = tools(told)
    deploy = {step.name: step for step in Deploy(ours, OLD).steps()}
    tells = ("migrations", "static files", "containers", "worker", "web: the switch")

    for name in [name for name in deploy if name in tells]:
        deploy[name].do()

    assert told.said == [(what, NEW.package) for what in ("schema", "files", "containers", "worker", "web")]
    assert ours.record.attempt
    assert ours.record.attempt.release.migrations == ("orders.0001", "orders.0002"), "what each call has applied"
    order = list(deploy)
    assert order.index("package") < order.index("migrations")
    assert order.index("static files") < order.index("trial") < order.index("containers")
    assert order[-1] == "smoke test"


def test_a_way_back_brings_the_files_and_then_who_produces_before_who_consumes(told: Told) -> None:
    *back, last = roll_back(tools(told), NEW, OLD)

    for step in back:
        step.do()

    assert told.said == [(what, OLD.package) for what in ("files", "web", "worker", "containers")]
    assert last.name == "smoke test"


def test_what_a_way_back_has_switched_is_switched_again_the_last_first(told: Told) -> None:
    back = roll_back(tools(told), NEW, OLD)
    switched: dict[str, str] = {step.name: "done" for step in back if step.name != "containers"}
    ended: list[Release | None] = []
    attempt = Attempt(kind="rollback", release=OLD, steps=switched)
    record: Any = SimpleNamespace(attempt=attempt, finish=ended.append, releases={"new": NEW}, current="new")

    back_out(back, record, Say())

    assert told.said == [("worker", NEW.package), ("web", NEW.package)], "and not what was not begun"
    assert ended == [NEW], "the current release stays"


def test_a_way_back_to_the_current_release_has_nothing_to_go_forward_to_again(told: Told) -> None:
    assert not any(step.undo for step in roll_back(tools(told), OLD, OLD))
