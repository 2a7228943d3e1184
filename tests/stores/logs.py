"""
What a store says in the log.
"""

from __future__ import annotations

from typing import Callable


class Log:
    """
    Takes the place of a module's C{log}.

    @ivar lines: level and text of what was logged.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda form, **values: self.lines.append((level, form.format(**values)))
