"""What the one who deploys reads: line by line, with times; what would be lost in red."""

import sys
import time
from collections.abc import Callable
from datetime import datetime

from rich.console import Console
from rich.markup import escape

from infrastructure.deploying.account import Refused
from infrastructure.deploying.changes import Changes


def ask(question: str, *, yes: bool, unagreed: bool = False) -> None:
    """Ask whoever sits there, unless they said ``yes`` before: that agrees to no loss. Raises Refused."""
    if yes and unagreed:
        raise Refused("Something would be removed or replaced: --may-lose (MAY_LOSE=1), if that is meant.")
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("Nobody is there to be asked: --yes, if that is meant.")
    if input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Refused("Nothing was done.")


class Say:
    """The lines of one run."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)

    def line(self, text: str, style: str = "") -> None:
        """One line."""
        self.console.print(escape(text), style=style or None)

    def step(self, name: str, do: Callable[[], str]) -> str:
        """Take a step: a line when it begins, and one when it is done; what it said. Raises what it raises."""
        began = time.monotonic()
        self._timed("…", name)
        said = do()
        self._timed("[green]✓[/]", name, f"{time.monotonic() - began:.1f} s", said)
        return said or "done"

    def changes(self, changes: Changes) -> None:
        """What a stack would no longer have as it has it."""
        for each in changes.remade:
            self.line(f"    removed or made anew, holds nothing: {each}", "dim")
        for each in changes.kept:
            self.line(f"    let go, and kept: {each}", "yellow")
        for each in changes.lost:
            self.line(f"    REMOVED OR REPLACED: {each}", "bold red")

    def waiting(self, text: str) -> None:
        """What is going on at AWS meanwhile."""
        self._timed("[dim]·[/]", text)

    def skipped(self, name: str, said: str) -> None:
        """A step that was taken by the run before."""
        self._timed("[green]✓[/]", name, "done before", said)

    def failed(self, why: str, back_to: str) -> None:
        """A step failed, and what was switched gets this release back."""
        self._timed("[red]✗[/]", why)
        self.line(f"Going back to {back_to}.", "bold red")

    def _timed(self, mark: str, name: str, *more: str) -> None:
        told = "  ".join(escape(each) for each in more if each)
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        self.console.print(f"[dim]{now}[/] {mark} {escape(name)}  [dim]{told}[/]".rstrip())
