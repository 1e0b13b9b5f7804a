"""Where one goes back to, by the record of a stage alone. Decided before the question, and again under the lock."""

from dataclasses import dataclass

from infrastructure.deploying.account import Refused
from infrastructure.deploying.record import Attempt, Record, Release
from infrastructure.deploying.steps import SWITCHES


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """From where one goes back, and to what."""

    leaves: str  # what functions have, or a part of them
    now: Release  # the current one
    then: Release  # the one before it; of a deploy that had begun to switch functions the current one
    migrations: tuple[str, ...] = ()  # of what is left
    resumes: bool = False  # it was begun before


def way_back(record: Record) -> WayBack:
    """What a way back would do with the record as it is. Raises Refused where there is nothing to go back to."""
    now, begun = record.releases.get(record.current), switching(record)
    if now and begun and begun.kind == "rollback":
        return WayBack(leaves=now.name, now=now, then=begun.release, migrations=now.migrations, resumes=True)
    if now and begun:
        return WayBack(leaves=begun.release.name, now=now, then=now, migrations=begun.release.migrations)
    if now and (then := record.releases.get(now.previous)):
        return WayBack(leaves=now.name, now=now, then=then, migrations=now.migrations)
    raise Refused("There is nothing to go back to: no release was deployed before this one.")


def switching(record: Record) -> Attempt | None:
    """What was begun and is not over, where functions may have something else than the current release by it."""
    attempt = record.attempt
    switched = attempt and (attempt.kind == "rollback" or SWITCHES & attempt.steps.keys())
    return attempt if switched else None
