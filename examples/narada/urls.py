"""
What a URL is, once it is normal, and which URLs are of one site.

Two spellings of one address must be one row, one job and one request, so
whatever comes in goes through L{normal} first.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

LONGEST = 2000
"""
How many characters a URL may have.  Longer ones are mostly a site's mistake, which never ends.
"""

DEFAULT_PORTS = {"http": 80, "https": 443}

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
# What may stand in a path or query as it is: the rest of RFC 3986's characters, and the escapes that are there.
_PATH = "/%:@!$&'()*+,;=-._~"
_QUERY = _PATH + "?"


class BadURL(ValueError):
    """
    Something is not the URL of a page; the message says why.
    """


def _escaped(text: str, allowed: str) -> str:
    """
    A path or a query with all escaped that must be, nothing that need not be, in capital letters.
    """
    stray = re.sub("%(?![0-9A-Fa-f]{2})", "%25", text)

    def rewritten(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character in _UNRESERVED else f"%{found[1].upper()}"

    return _ESCAPE.sub(rewritten, quote(stray, safe=allowed, errors="replace"))


def _without_dots(path: str) -> str:
    """
    An absolute path without C{.} and C{..}.
    """
    kept: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if parts[-1:] in ([""], ["."], [".."]) and kept[-1:] != [""]:
        kept.append("")
    return "/" + "/".join(kept)


def _host(name: str) -> str:
    """
    A host's name as DNS has it.

    @raise BadURL: if no host can have it.
    """
    if ":" in name:
        return f"[{name}]"
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise BadURL(f"no host has the name {name!r}") from None


def normal(url: str, base: str = "") -> str:
    """
    The one way to write a URL: absolute, host in small letters, no default port, no C{.} and C{..}, no fragment, escaped where
    it must be and only there.

    @param base: what a relative URL is relative to.
    @raise BadURL: if it is not one of HTTP's, or nothing that can be requested.
    """
    # Browsers ignore these, so pages have them.
    url = re.sub("[\t\r\n]", "", url).strip("".join(map(chr, range(33))))
    try:
        split = urlsplit(urljoin(base, url))
        name, port = split.hostname, split.port
    except ValueError as error:
        raise BadURL(f"{url!r} is not a URL: {error}") from None
    scheme = split.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise BadURL(f"{url!r} is not a URL of HTTP; it should begin with http:// or https://")
    if not name:
        raise BadURL(f"{url!r} names no host")
    if split.username is not None:
        raise BadURL("a URL with a user name is not for everybody")
    host = _host(name)
    if re.search(r"[^a-z0-9._\[\]:-]", host):
        raise BadURL(f"no host has the name {name!r}")
    place = host if port in (None, DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    whole = urlunsplit(
        (scheme, place, _without_dots(_escaped(split.path or "/", _PATH)), _escaped(split.query, _QUERY), "")
    )
    if len(whole) > LONGEST:
        raise BadURL(f"a URL of {len(whole)} characters is too long; {LONGEST} are allowed")
    return whole


def site_of(url: str) -> str:
    """
    What all URLs of one site have in common, and no others: the host's name, without C{www.}, and the port, if it is an
    unusual one.  HTTP and HTTPS at their usual ports are one site.

    @param url: a normal one.
    """
    return urlsplit(url).netloc.removeprefix("www.")


def origin_of(url: str) -> str:
    """
    The scheme, host and port of a normal URL: what a C{robots.txt} is about.
    """
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc}"


def unique_of(*parts: object) -> str:
    """
    The unique id of a job about something: the same for the same parts, and within the 64 bytes that Gearman has for it,
    which a URL would not be.
    """
    text = "\n".join(map(str, parts))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
