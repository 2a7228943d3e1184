"""
What an option is, and the checks that values go through.

A check takes a text and returns the value, or raises C{ValueError} with what a
value must be.  Which options there are stands in L{gearsvc.config}, and in the
plugins for those of one store or protocol.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

HANDLE_PREFIX_LIMIT = 42
"""
A handle is the prefix, a colon and a number, and clients (libgearman) keep it
in 64 bytes with a NUL: this leaves twenty digits to the number.
"""

LEVELS = ("FATAL", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG")
"""
What C{--verbose} takes, from the quietest to the most talkative.
"""


class SettingsError(Exception):
    """
    An option has a value that cannot be used.

    @ivar args: one string of one line: where, what is wrong, what to do.
    """


@dataclass(frozen=True)
class Option:
    """
    One option: on the command line, in the configuration file, in L{Settings}.

    @ivar name: the long name, as in C{--job-retries}; also the file's key.
    @ivar help: what it does, in a sentence or two; the default is added to it.
    @ivar parse: makes a value of a text; raises C{ValueError} with what a
        value must be (C{"must be a whole number"}).
    @ivar default: its value if it is given nowhere; a tuple for one that may
        be repeated.
    @ivar short: the short name, one letter.
    @ivar aliases: other long names.
    @ivar metavar: what C{--help} calls the value; C{""} makes it a flag.
    @ivar repeatable: whether it may be given more than once.
    @ivar group: the heading it stands under in C{--help}.
    @ivar effect: whether it does anything.  What only tunes the inside of
        gearmand is accepted, and a line in the log says that it does nothing.
    @ivar twistd: set if it concerns the process and not the server: what
        twistd has in its place.
    @ivar shown: how C{--help} writes the default, where C{str} will not do.
    @ivar made: whether it is the path of what a store makes if it is not there;
        where jobs are only read from it, that is a mistake in the path.
    """

    name: str
    help: str
    parse: Callable[[str], Any] = str
    default: Any = None
    short: str = ""
    aliases: tuple[str, ...] = ()
    metavar: str = ""
    repeatable: bool = False
    group: str = ""
    effect: bool = True
    twistd: str = ""
    shown: str | None = None
    made: bool = False

    @property
    def attribute(self) -> str:
        """
        Its name in L{Settings}.
        """
        return self.name.replace("-", "_")

    @property
    def flag(self) -> bool:
        """
        Whether it is on or off, and has no value on the command line.
        """
        return not self.metavar

    def value(self, given: Sequence[str]) -> Any:
        """
        The value for what was given.

        @param given: the texts; but for a repeatable option the last counts.
        @raise SettingsError: if one of them is wrong.
        """
        try:
            values = tuple(self.parse(text) for text in given)
        except ValueError as error:
            raise SettingsError(f"{self.name}: {error}") from None
        if self.repeatable:
            return values
        return values[-1]

    def checked(self, value: Any) -> Any:
        """
        A value that a program gave, after the checks that texts go through.

        @raise SettingsError: if it is wrong.
        """
        if value == self.default and type(value) is type(self.default):
            return value
        if self.repeatable and not isinstance(value, (str, int)):
            return self.value([str(item) for item in value])
        return self.value([str(value)])


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """
    A check for a whole number in a range.
    """
    wanted = f"from {minimum} to {maximum}" if maximum is not None else f"of {minimum} or more"

    def parse(text: str) -> int:
        if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text, re.ASCII):
            number = int(text)
            if number >= minimum and (maximum is None or number <= maximum):
                return number
        raise ValueError(f"must be a whole number {wanted}, not {text!r}")

    return parse


def seconds(text: str) -> float:
    """
    A check for a time span; a negative one is for the option to give a meaning.
    """
    if re.fullmatch(r"\s*[+-]?([0-9]{1,9}(\.[0-9]*)?|\.[0-9]+)\s*", text, re.ASCII):
        return float(text)
    raise ValueError(f"must be a number of seconds, such as 30 or 0.5, not {text!r}")


def not_negative_seconds(text: str) -> float:
    """
    A check for a time span of zero or more.
    """
    span = seconds(text)
    if span < 0:
        raise ValueError(f"must be a number of seconds, 0 or more, not {text!r}")
    return span


def size(text: str) -> int:
    """
    A check for a number of bytes, with the suffixes K, M and G.
    """
    match = re.fullmatch(r"\s*([0-9]{1,12})\s*([KMG]?)(i?B)?\s*", text, re.ASCII | re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"must be a number of bytes, such as 65536, 64M or 1G, not {text!r}")
    return int(match[1]) << (10 * " KMG".index(match[2].upper() or " "))


def yes_or_no(text: str) -> bool:
    """
    A check for a flag.
    """
    word = text.strip().lower()
    if word in ("yes", "true", "1", "on"):
        return True
    if word in ("no", "false", "0", "off"):
        return False
    raise ValueError(f"must be yes or no, not {text!r}")


def some_text(text: str) -> str:
    """
    A check for a name or a path: anything but nothing.
    """
    text = text.strip()
    if not text:
        raise ValueError("must not be empty")
    if any(character < " " for character in text):
        raise ValueError(f"must not hold control characters: {text!r}")
    return text


def user_name(text: str) -> str:
    """
    A check for a user of this system.
    """
    try:
        return pwd.getpwnam(text).pw_name
    except (KeyError, ValueError):
        raise ValueError(f"must be a user of this system, not {text!r}") from None


def lower_case_name(text: str) -> str:
    """
    A check for the name of a plugin.
    """
    return some_text(text).lower()


def level(text: str) -> str:
    """
    A check for a level of C{--verbose}, in any case of letters.
    """
    name = text.strip().upper()
    if name not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}, not {text!r}")
    return name


def attempts(text: str) -> int:
    """
    A check for C{--job-retries}: C{-1} is no limit to gearmand 2, as C{0} is.
    """
    return max(0, whole_number(-1)(text))


def handle_prefix(text: str) -> str:
    """
    A check for a prefix that leaves a handle room for its number, and that
    the admin commands can tell from what stands around it.
    """
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"must be some characters without blanks or control characters, not {text!r}")
    if len(text.encode("utf-8", "surrogateescape")) > HANDLE_PREFIX_LIMIT:
        raise ValueError(f"must have at most {HANDLE_PREFIX_LIMIT} bytes, or job handles grow too long for clients: {text!r}")
    return text


def port_or_endpoint(text: str) -> str:
    """
    A check for a port number, or for what Twisted calls an endpoint.

    @return: the number, without leading zeros, or the description.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text, re.ASCII):
        if len(text) > 9 or int(text) > 65535:
            raise ValueError(f"must be a port from 0 to 65535, not {text!r}")
        return str(int(text))
    # Only what needs it pays for importing the endpoints.
    from twisted.internet import endpoints, interfaces
    from twisted.plugin import getPlugins

    name = text.partition(":")[0]
    try:
        if name in ("tcp", "ssl", "unix"):
            # These look at their arguments and not at the reactor.
            nowhere: Any = None
            endpoints.serverFromString(nowhere, text)
        elif name not in {parser.prefix for parser in getPlugins(interfaces.IStreamServerEndpointStringParser)}:
            raise ValueError
    except (ValueError, TypeError, LookupError, ImportError, OSError) as error:
        reason = f" ({error})" if str(error) else ""
        raise ValueError(f"must be a port from 0 to 65535, or an endpoint such as tcp:4730, not {text!r}{reason}") from None
    number = re.match(r"(?:tcp6?|ssl):(?:port=)?([0-9]+)", text, re.ASCII)
    if number is not None and int(number[1]) > 65535:
        raise ValueError(f"must have a port from 0 to 65535, not {text!r}")
    return text


def no_tls_yet(text: str) -> Any:
    """
    A check that refuses TLS: a server that is asked for it and that talks
    plain text, as gearmand built without it does, is the worst answer.
    """
    raise ValueError("this version has no TLS, and does not start in plain text instead; leave the option away")
