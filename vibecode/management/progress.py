"""A progress bar on standard error while somebody watches; nothing in a log or a pipe. Called by the long commands."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(task: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of ``total`` steps; call what it yields with how many more are done."""
    if not sys.stderr.isatty():
        yield lambda _steps: None
        return
    # Of the laptop alone: on Lambda there is neither a terminal nor rich.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(task, total=total)
        yield lambda steps: progress.advance(bar, steps)
