"""
From the bytes of a page to its title, its text and its links.

Nothing here trusts a page: it may be of any encoding, end anywhere, nest as
deep as it likes and say what it wants.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from examples.narada.urls import BadURL, normal

MOST_LINKS = 2000
"""
How many links of one page are followed.
"""

_NO_TEXT = frozenset("script style template svg math noscript iframe object".split())
# What all pages of a site have alike, which would make each of them match.
_FRAME = frozenset("nav header footer".split())
# Within these, words go on; all other tags end them.
_INLINE = frozenset(
    "a abbr b bdi bdo big cite code dfn em font i ins kbd mark q s samp small span strong sub sup tt u var wbr".split()
)

# What the Web means by these names (https://encoding.spec.whatwg.org/#names-and-labels).
_MEANT = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
_ENCODINGS = re.compile(r"utf-8|utf-16(-[lb]e)?|cp\d+|iso8859-\d+|koi8-[ru]|mac-.+|gb18030|big5.*|euc_jp|iso2022_jp|tis-620")
_DECLARED = re.compile(rb"""<meta[^>]{1,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_SPACE = re.compile(r"\s+")


@dataclass
class Page:
    """
    What is worth knowing of a page.

    @ivar links: where it leads, normal, each once, in the page's order.
    @ivar index: whether it wants to be in an index.
    """

    title: str = ""
    text: str = ""
    links: list[str] = field(default_factory=list)
    index: bool = True


def _codec(name: str) -> str | None:
    """
    The codec that an encoding's name means on the Web, if it is one of texts.
    """
    try:
        found = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        return None
    found = _MEANT.get(found, found)
    # Python has codecs that no page may ask for: they unpack, or execute escapes.
    return found if _ENCODINGS.fullmatch(found) else None


def decode(content: bytes, charset: str = "") -> str:
    """
    The text that some bytes are: by their byte order mark, by what the server said, by what the page says itself, or, if
    none of these helps, as UTF-8 or else as Western European.

    @param charset: the encoding's name that came with it, if any did.
    """
    for mark, name in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if content.startswith(mark):
            return content[len(mark) :].decode(name, "replace")
    codec = _codec(charset)
    if codec is None and (declared := _DECLARED.search(content[:4096])):
        codec = _codec(declared[1].decode("ascii", "replace"))
        if codec is not None and codec.startswith("utf-16"):
            # It could not have been read if it were so.
            codec = "utf-8"
    if codec is None:
        try:
            return content.decode()
        except UnicodeDecodeError:
            codec = "cp1252"
    return content.decode(codec, "replace")


def plain(text: str) -> str:
    """
    Text without control characters, with single spaces.
    """
    return _SPACE.sub(" ", _CONTROL.sub(" ", text)).strip()


class _Reader(HTMLParser):
    """
    Collects what L{Page} has.
    """

    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = url
        self.based = False
        self.links: dict[str, None] = {}
        self.title: list[str] = []
        self.texts: list[str] = []
        self.index = True
        self.follow = True
        self._silent: list[str] = []
        self._articles = 0
        self._in_title = False
        self._had_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        Note links and orders, and what is no text.
        """
        self._start(tag, {name: value or "" for name, value in reversed(attrs)})
        if tag in _NO_TEXT or tag in _FRAME and not self._articles:
            self._silent.append(tag)
        elif tag in ("main", "article"):
            self._articles += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        C{<br/>}, or C{<svg/>}, which has no end tag, either.
        """
        self._start(tag, {name: value or "" for name, value in reversed(attrs)})

    def _start(self, tag: str, values: dict[str, str]) -> None:
        if tag not in _INLINE:
            self.texts.append(" ")
        if tag == "title":
            self._start_title()
        elif tag == "base" and "href" in values and not self.based:
            self.based = True
            try:
                self.base = normal(values["href"], self.base)
            except BadURL:
                # As if it were not there: so do browsers.
                pass
        elif tag in ("a", "area") and "href" in values:
            if "nofollow" not in values.get("rel", "").lower().split():
                self._link(values["href"])
        elif tag in ("iframe", "frame") and "src" in values:
            self._link(values["src"])
        elif tag == "meta":
            self._meta(values)

    def _start_title(self) -> None:
        # An image may have one, too.
        if not self._silent and not self._had_title:
            self._in_title = self._had_title = True

    def handle_endtag(self, tag: str) -> None:
        """
        Note where what is no text ends, though tags in between may be missing.
        """
        if tag in self._silent:
            while self._silent.pop() != tag:
                pass
        elif tag in ("title", "head"):
            self._in_title = False
        elif tag in ("main", "article"):
            self._articles = max(0, self._articles - 1)
        if tag not in _INLINE:
            self.texts.append(" ")

    def handle_data(self, data: str) -> None:
        """
        Note text.
        """
        if self._in_title:
            self.title.append(data)
        elif not self._silent:
            self.texts.append(data)

    def _meta(self, values: dict[str, str]) -> None:
        content = values.get("content", "")
        if values.get("name", "").lower() in ("robots", "narada"):
            orders = {order.strip() for order in content.lower().split(",")}
            self.index &= not orders & {"noindex", "none"}
            self.follow &= not orders & {"nofollow", "none"}
        elif values.get("http-equiv", "").lower() == "refresh":
            if found := re.match(r"\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?[\"']?([^\"']+)", content, re.IGNORECASE):
                self._link(found[1])

    def _link(self, target: str) -> None:
        if len(self.links) >= MOST_LINKS:
            return
        try:
            self.links[normal(target, self.base)] = None
        except BadURL:
            # mailto:, javascript:, and much else that is nothing to fetch.
            pass


def parse(content: bytes, url: str, charset: str = "") -> Page:
    """
    Read a page of HTML.

    @param url: where it is, normal.
    @param charset: the encoding that came with it, if any did.
    """
    # A tag that is never closed is looked at once more for each "<" in it, which takes minutes for a page of many: so no
    # tag may come behind the last ">".
    markup, end, rest = decode(content, charset).rpartition(">")
    reader = _Reader(url)
    reader.feed(markup + end + rest.partition("<")[0])
    reader.close()
    links = list(reader.links) if reader.follow else []
    return Page(plain("".join(reader.title)), plain("".join(reader.texts)), links, reader.index)


def parse_text(content: bytes, charset: str = "") -> Page:
    """
    Read a page of plain text: its first line is its title.
    """
    text = decode(content, charset).strip()
    return Page(plain(text.partition("\n")[0])[:200], plain(text))
