"""Facts about people. Never a name, an address or an e-mail: who needs one asks us for it."""

from dataclasses import dataclass
from typing import ClassVar

from vibecode.outbox import Event


@dataclass(frozen=True, kw_only=True)
class UserRegistered(Event):
    """Somebody was seen for the first time."""

    source: ClassVar[str] = "vibecode.accounts"
    detail_type: ClassVar[str] = "User Registered"

    user_id: str

    @property
    def subject(self) -> str:
        """The person's Cognito sub."""
        return self.user_id
