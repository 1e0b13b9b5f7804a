"""Waiting for AWS, for as long as the stage is ours to deploy."""

import time
from collections.abc import Callable

from infrastructure.deploying.record import Lost

PAUSE = 5  # seconds between two tries
SETTLED = 900  # seconds within which AWS has done what was begun: Lambda joins a function to the network


class Turn:
    """Whose turn it is to deploy. ``is_ours`` says so; where it is not, whoever waits gives up, and Lost is raised."""

    def __init__(self, is_ours: Callable[[], bool] = lambda: True) -> None:
        self.is_ours = is_ours

    def check(self) -> None:
        """Raises Lost where the stage is somebody else's by now."""
        if not self.is_ours():
            raise Lost("Somebody else deploys this stage by now.")

    def wait(self) -> None:
        """A little, until the next try. Raises Lost."""
        time.sleep(PAUSE)
        self.check()
