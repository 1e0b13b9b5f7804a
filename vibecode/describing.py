"""What the API's description says of a view, kept until somebody asks for it. Called by views and docs_urls."""

from collections.abc import Callable
from typing import Any

_kept: list[tuple[Callable[..., Any], dict[str, Any]]] = []


def described[View: Callable[..., Any]](**words: Any) -> Callable[[View], View]:
    """drf-spectacular's ``extend_schema`` with the same arguments, which is too slow to import for a cold start."""

    def keep(view: View) -> View:
        _kept.append((view, words))
        return view

    return keep


def describe_views() -> None:
    """Give drf-spectacular all that was kept, in its order. Twice is harmless."""
    from drf_spectacular.utils import extend_schema

    while _kept:
        view, words = _kept.pop(0)
        extend_schema(**words)(view)
