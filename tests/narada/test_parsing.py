"""
L{examples.narada.parsing}.
"""

from __future__ import annotations

import time
import unittest

from examples.narada.parsing import MOST_LINKS, decode, parse, parse_text

URL = "http://example.com/a/b.html"


class ParseTests(unittest.TestCase):
    """
    Pages of HTML.
    """

    def test_title_and_text(self) -> None:
        """
        The text is what is to be read: without scripts, styles and what frames all pages of a site; words end where
        blocks do, and not where they change their looks.
        """
        page = parse(
            b"<!doctype html><title> A &lt;b&gt;\n c </title><style>no</style><nav>no <a href=x>no</a></nav>"
            b"<header>no</header><main><header>Yes</header><p>one<p>two<br>th<b>re</b>e<script>no()</script>"
            b"<svg/> four<table><tr><td>five<td>six</table></main><footer>no</footer><noscript>no</noscript>",
            URL,
        )
        self.assertEqual(page.title, "A <b> c")
        self.assertEqual(page.text, "Yes one two three four five six")

    def test_links(self) -> None:
        """
        Links are normal, relative to the page's base, each once, without those that nobody can fetch.
        """
        page = parse(
            b"<base href='/c/'><base href='/no/'><a href='d'>1</a><a href='d#e'>2</a><A HREF=//other.example>3</A>"
            b"<a href='mailto:x'>4</a><a href='javascript:x'>5</a><a name=x>6</a><a rel='external nofollow' href=no>7</a>"
            b"<area href='/map'><iframe src=frame></iframe><a href=&#x2e;/f?a=1&amp;b=2>8</a>"
            b"<meta http-equiv=Refresh content='5; URL=/next'>",
            URL,
        )
        self.assertEqual(
            page.links,
            [
                "http://example.com/c/d",
                "http://other.example/",
                "http://example.com/map",
                "http://example.com/c/frame",
                "http://example.com/c/f?a=1&b=2",
                "http://example.com/next",
            ],
        )

    def test_orders_to_robots(self) -> None:
        """
        A page may ask not to be indexed, or that its links are not followed.
        """
        for orders, index, follow in (
            ("noindex", False, True),
            ("NOFOLLOW", True, False),
            ("noindex, nofollow", False, False),
            ("none", False, False),
            ("noarchive", True, True),
        ):
            page = parse(f"<meta name=ROBOTS content='{orders}'><a href=c>c</a>".encode(), URL)
            self.assertEqual((page.index, bool(page.links)), (index, follow), orders)

    def test_broken(self) -> None:
        """
        A page may end anywhere, and leave out any tag.
        """
        whole = b"<html><head><title>A</title></head><body><p class='x'>one <!-- c --> <a href='d'>two</a> &amp; </p></html>"
        for end in range(len(whole)):
            self.assertNotIn("\0", parse(whole[:end], URL).text)
        self.assertEqual(parse(b"</p></nav><script></b></script></div>text", URL).text, "text")
        self.assertEqual(parse(b"<title>A</head>text", URL).text, "text")

    def test_no_control_characters(self) -> None:
        """
        No page can put control characters, which mark what was found, into its title or text.
        """
        page = parse("<title>a\x02b&#2;c</title>d\x03e&#3;f\x1b[31mg\x85h".encode(), URL)
        self.assertEqual((page.title, page.text), ("a bc", "d ef [31mg h"))

    def test_endless(self) -> None:
        """
        A page of links alone, or of what never ends, takes no longer than a page of its size may.
        """
        self.assertEqual(len(parse(b"".join(b"<a href=%d>" % number for number in range(MOST_LINKS + 9)), URL).links), MOST_LINKS)
        began = time.process_time()
        for piece in (b"<div>", b"<a ", b"<nav>", b"&#", b"</", b"<!--", b"<a b='", b"<p =", b"<![CDATA["):
            for end in (b"", b">", b"'>"):
                parse(piece * (100_000 // len(piece)) + end, URL)
        # With "<a " alone, html.parser takes more than a minute.
        self.assertLess(time.process_time() - began, 15)

    def test_plain_text(self) -> None:
        """
        The first line of a plain text is its title.
        """
        page = parse_text(b"\xef\xbb\xbf\n A title\nand a text")
        self.assertEqual((page.title, page.text), ("A title", "A title and a text"))


class DecodeTests(unittest.TestCase):
    """
    Encodings.
    """

    def test_who_says_what(self) -> None:
        """
        A byte order mark is right before the server is, the server before the page, and the page before a guess.
        """
        text = "<meta charset=shift_jis>味噌"
        self.assertIn("味噌", decode(text.encode("utf-8-sig"), "shift_jis"))
        self.assertIn("味噌", decode(text.encode("utf-16"), "utf-8"))
        self.assertIn("味噌", decode(text.encode(), "utf-8"))
        self.assertIn("味噌", decode(text.encode("shift_jis")))
        self.assertIn("味噌", decode(text.encode("shift_jis"), "x-unknown"))
        self.assertEqual(decode("µ".encode()), "µ")
        self.assertEqual(decode("µ’".encode("cp1252")), "µ’")
        self.assertEqual(decode("’".encode("cp1252"), "ISO-8859-1"), "’")
        self.assertIn("ж", decode("<meta http-equiv='content-type' content='text/html; charset=koi8-r'>ж".encode("koi8-r")))

    def test_codecs_that_are_none_of_texts(self) -> None:
        """
        A page cannot have itself unpacked or unescaped.
        """
        for name in ("zip", "base64", "rot13", "unicode_escape", "utf-7", "idna", "punycode", "undefined", "x\0y", "../x"):
            self.assertEqual(decode(b"+ADw- \\x41", name), "+ADw- \\x41", name)
