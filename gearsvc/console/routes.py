"""
What a route of the API is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gearsvc.console.schemas import Schema


@dataclass(frozen=True)
class Parameter:
    """
    A part of a URL: of its path, or of its query.

    @ivar name: what it is called.
    @ivar schema: what it may be.
    @ivar description: what it is.
    @ivar default: its value if it is not there.
    @ivar bytes: whether it stands for any bytes, and not only for text.
    @ivar many: whether it may be there more than once.
    """

    name: str
    schema: Schema
    description: str
    default: Any = None
    bytes: bool = False
    many: bool = False


@dataclass(frozen=True)
class Body:
    """
    What a request may, or has to, bring.

    @ivar schema: what it has to be, as JSON.
    @ivar raw: whether any bytes will do as well, as C{application/octet-stream}.
    """

    schema: Schema
    raw: bool = False


@dataclass(frozen=True)
class Route:
    """
    Something that can be asked for.

    @ivar name: one word for programs, unique.
    @ivar path: where it is, below C{/api/v1}; a part in braces is a
        L{Parameter}'s name.
    @ivar handle: what answers; it is given the console, the arguments by their
        names, and the body (an object, bytes or C{None}).  It returns a value
        (L{gearsvc.console.values}), or a Deferred of one, or raises a L{Problem
        <gearsvc.console.problems.Problem>}.
    @ivar answer: what that value is; C{None} if there is nothing to say.
    @ivar summary: what it is for, in a few words.
    @ivar in_path: the parameters in the path.
    @ivar query: the parameters behind the question mark.
    @ivar tag: the heading under which it stands in the description.
    @ivar description: what else there is to say of it.
    @ivar status: the HTTP status of success.
    @ivar problems: which problems there may be, besides those there may be with
        every route.
    """

    method: str
    path: str
    name: str
    handle: Callable[[Any, dict[str, Any], Any], Any]
    answer: Any
    summary: str
    tag: str
    description: str = ""
    in_path: tuple[Parameter, ...] = ()
    query: tuple[Parameter, ...] = ()
    body: Body | None = None
    status: int = 200
    problems: tuple[int, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """
        The path's segments.
        """
        return tuple(each for each in self.path.split("/") if each)
