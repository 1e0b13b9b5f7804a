"""The stacks of a stage: what each is told by the others, planned and brought to AWS by change sets.

A parameter of a stack is the output of the same name of a stack before it, in whatever region, or is told by the
deployment: what Zappa has made, digests of secrets, the release. What nobody tells stays as it is.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infrastructure.deploying.account import Account, Refused
from infrastructure.deploying.assembly import TOLD_LATER, Template, imported, with_other_names
from infrastructure.deploying.changes import Changes
from infrastructure.deploying.cloudformation import (
    Description,
    Stack,
    exports_of,
    mend,
    parameters_of,
    stands,
    status_of,
)
from infrastructure.deploying.waiting import Turn


@dataclass
class Stacks:
    """CloudFormation, for the stacks of one stage."""

    account: Account
    templates: Mapping[str, Template]
    told: dict[str, str] = field(default_factory=dict)  # parameters that no stack puts out
    role: str = ""  # in whose name CloudFormation works; ours where it is empty
    may_lose: bool = False  # also what no plan could show, because a stack before it had to come first
    report: Callable[[str], object] = lambda _: None  # what is waited for
    turn: Turn = field(default_factory=Turn)  # to change them: a plan needs none
    _unforeseen: set[str] = field(default_factory=set)

    def plan(self) -> dict[str, Changes]:
        """What would change, stack by stack, when nothing is in progress any more. Changes nothing.

        A new stack is told by its template alone. What needs something that a stack before it is only about to put out
        cannot be asked yet: it is looked at when it is its turn. Raises Refused for a stack that is stuck, and for what
        nobody will ever tell one.
        """
        there = {what: self._stack(what).settled() for what in self.templates}
        if stuck := [said for what, about in there.items() for said in self._trouble(what, about)]:
            raise Refused("\n".join(stuck))
        known, exports = self._known(there), {name for about in there.values() for name in exports_of(about)}
        self._check_exports(there)
        coming: set[str] = set()
        changes = {}
        for what, template in self.templates.items():
            about = there[what]
            if not stands(about):
                self._missing(template, {}, {*known, *exports, *TOLD_LATER}, coming)
                changes[what] = Changes(new_stack=template.resources)
            elif waits_for := self._missing(template, about, {*known, *exports}, coming):
                self._unforeseen.add(what)
                changes[what] = Changes(waits_for=waits_for)
            else:
                stack = self._stack(what)
                made = stack.create_change_set("UPDATE", "plan", self._parameters(template, about, known), template)
                changes[what] = stack.changes(made)
                stack.delete_change_set(made)
            coming |= template.puts_out
        return changes

    def stands(self, what: str) -> bool:
        """Whether this stack was ever made whole."""
        return what in self.templates and stands(self._stack(what).describe())

    def deployed(self, what: str) -> Mapping[str, Any] | None:
        """The template that is deployed now, if any."""
        if not self.stands(what):
            return None
        said = self._stack(what).template()
        parsed: Mapping[str, Any] = said if isinstance(said, dict) else json.loads(said)
        return parsed

    def apply(self, what: str, agreed: Sequence[str] = ()) -> str:
        """Bring it about, and say what changed. Raises Refused for a loss nobody agreed to, StackFailed."""
        template, stack = self.templates[what], self._stack(what)
        status = stack.ready()
        there = self._all()
        parameters = self._parameters(template, there[what], self._known(there))
        made = stack.create_change_set("UPDATE" if status else "CREATE", "deploy", parameters, template)
        changes = stack.changes(made) if status else Changes(new_stack=template.resources)
        if changes.none:
            stack.delete_change_set(made)
        else:
            self._check_losses(template, made, changes, agreed)
            stack.execute_change_set(made)
        if template.protected:
            stack.protect()
        return str(changes)

    def parameter(self, what: str, name: str) -> str:
        """What a stack that is there was told; empty where it was told nothing."""
        return parameters_of(self._stack(what).describe()).get(name, "") if what in self.templates else ""

    def output(self, what: str, name: str) -> str:
        """What a stack puts out by this name; empty where it does not, or is not there."""
        about = self._stack(what).describe() if what in self.templates else {}
        return {each["OutputKey"]: str(each["OutputValue"]) for each in about.get("Outputs", [])}.get(name, "")

    def trouble(self) -> Iterator[str]:
        """Which stacks cannot be deployed as they are, after waiting for what CloudFormation is still doing."""
        for what in self.templates:
            yield from self._trouble(what, self._stack(what).settled())

    def _trouble(self, what: str, about: Description) -> Iterator[str]:
        if (status := status_of(about)).endswith("_FAILED"):
            yield f"{self.templates[what].name} is {status}: {mend(status)}"

    def _stack(self, what: str) -> Stack:
        template = self.templates[what]
        return Stack(self.account, template.name, template.region, role=self.role, report=self.report, turn=self.turn)

    def _all(self) -> dict[str, Description]:
        """Every stack of the stage as it is now; empty where there is none."""
        return {what: self._stack(what).describe() for what in self.templates}

    # --- what a stack is told ----------------------------------------------------------------------------------------
    def _known(self, there: Mapping[str, Description]) -> dict[str, str]:
        """What stacks put out now, and what the deployment tells them."""
        outputs = (output for about in there.values() for output in about.get("Outputs", []))
        return with_other_names({each["OutputKey"]: each["OutputValue"] for each in outputs}) | self.told

    def _missing(self, template: Template, about: Description, there: set[str], coming: set[str]) -> list[str]:
        """What this stack needs that is not there yet, but will be. Raises Refused for what will not."""
        untold = {name for name in template.parameters if name not in parameters_of(about)}
        needed = {name for name in untold if "Default" not in template.parameters[name]} | template.imports
        if never := sorted(needed - there - coming):
            raise Refused(f"{template.name} needs {', '.join(never)}, which no stack before it puts out.")
        return sorted(((untold | template.imports) - there) & coming)

    def _check_exports(self, there: Mapping[str, Description]) -> None:
        """Raises Refused where a stack would take back what another still takes: CloudFormation would, half-way."""
        gone = {
            name: template
            for what, template in self.templates.items()
            for name in exports_of(there[what]) - template.puts_out
        }
        for what, template in self.templates.items() if gone else ():
            if taken := sorted(gone.keys() & set(imported(self.deployed(what)))):
                raise Refused(
                    f"{gone[taken[0]].name} no longer puts out {', '.join(taken)}, which {template.name} still takes "
                    "when it is its turn. Let this release put it out still (export_value in its stack), the next not."
                )

    def _parameters(
        self, template: Template, about: Description, known: Mapping[str, str]
    ) -> list[dict[str, str | bool]]:
        told: list[dict[str, str | bool]] = []
        for name, declared in template.parameters.items():
            if name in known:
                told.append({"ParameterKey": name, "ParameterValue": known[name]})
            elif name in parameters_of(about):
                told.append({"ParameterKey": name, "UsePreviousValue": True})
            elif "Default" not in declared:
                raise Refused(f"{template.name} needs {name}, which no stack before it puts out.")
        return told

    def _check_losses(self, template: Template, made: str, changes: Changes, agreed: Sequence[str]) -> None:
        """Raises Refused for what nobody agreed to lose, and forgets the change set."""
        unforeseen = sorted(set(changes.lost) - set(agreed))
        if not unforeseen or (self.may_lose and template.what in self._unforeseen):
            return
        self._stack(template.what).delete_change_set(made)
        raise Refused(
            f"{template.name} would lose what the plan did not show: {', '.join(unforeseen)}. "
            "Run it again: what stood in the way of seeing it is there now, and the plan shows it."
        )
