"""What short texts tell, remembered: texts come from outside, and long ones are not to fill the memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def remembered(most: int, longest: int) -> Callable[[F], F]:
    """A decorator: what the function gave last is kept, for at most so many texts of at most so many letters."""

    def around(f: F) -> F:
        kept = lru_cache(maxsize=most)(f)

        @wraps(f)
        def found(text: str | None, *rest: Any) -> Any:
            return f(text, *rest) if text is not None and len(text) > longest else kept(text, *rest)

        return found  # type: ignore[return-value]

    return around
