"""Puts something of ours in the place of one of moto's. Used where moto does not do as AWS does."""


def mend(owner: object, name: str, ours: object) -> None:
    """From now on ``owner.name`` is ours, for everybody in this process."""
    setattr(owner, name, ours)
