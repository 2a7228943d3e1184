"""
L{examples.narada.urls}.
"""

from __future__ import annotations

import unittest

from examples.narada.urls import LONGEST, BadURL, normal, origin_of, site_of, unique_of


class NormalTests(unittest.TestCase):
    """
    One address is written in one way.
    """

    def test_spellings_of_one_url(self) -> None:
        """
        However an address is spelled, it becomes the same URL.
        """
        for spelled in (
            "http://example.com/a/b?q=1",
            "HTTP://EXAMPLE.com:80/a/b?q=1#top",
            "http://example.com/a/./x/../b?q=1",
            "http://example.com/%61/b?q=%31",
            " http://example.com/a/b\n?q=1\t",
            "http://example.com/../a/b?q=1",
        ):
            self.assertEqual(normal(spelled), "http://example.com/a/b?q=1", spelled)

    def test_normal_url_stays(self) -> None:
        """
        What is normal is left as it is, whatever it was before.
        """
        for url in ("http://x", "http://x?a b", "https://bücher.example/straße/%2f?ä=%", "http://[::1]:8080/a//b/..", "http://x/%zz/."):
            once = normal(url)
            self.assertEqual(normal(once), once)

    def test_relative(self) -> None:
        """
        A link is relative to where its page is.
        """
        base = "http://example.com/a/b.html?c"
        for link, url in {
            "": "http://example.com/a/b.html?c",
            "d.html": "http://example.com/a/d.html",
            "../../d": "http://example.com/d",
            "?e": "http://example.com/a/b.html?e",
            "//other.example": "http://other.example/",
            "#top": "http://example.com/a/b.html?c",
            "d e.html": "http://example.com/a/d%20e.html",
        }.items():
            self.assertEqual(normal(link, base), url, link)

    def test_what_must_be_escaped(self) -> None:
        """
        Other than ASCII, spaces and stray per cents are escaped; escapes that mean something stay, in capital letters.
        """
        self.assertEqual(normal("http://x/é %2f%zz?ü=%c3"), "http://x/%C3%A9%20%2F%25zz?%C3%BC=%C3")
        self.assertEqual(normal("http://Bücher.example"), "http://xn--bcher-kva.example/")

    def test_what_cannot_be_fetched(self) -> None:
        """
        What is no URL of HTTP is refused with a reason.
        """
        for url, why in {
            "mailto:a@example.com": "not a URL of HTTP",
            "javascript:alert(1)": "not a URL of HTTP",
            "file:///etc/passwd": "not a URL of HTTP",
            "example.com": "not a URL of HTTP",
            "http://": "names no host",
            "http://user:secret@example.com/": "user name",
            "http://[::1": "not a URL",
            "http://x:99999/": "not a URL",
            "http://a b/": "no host has the name",
            f"http://{'a' * 64}.example/": "no host has the name",
            "http://x/" + "a" * LONGEST: "too long",
        }.items():
            with self.assertRaisesRegex(BadURL, why):
                normal(url)


class SiteTests(unittest.TestCase):
    """
    What is filtered by.
    """

    def test_one_site(self) -> None:
        """
        HTTP and HTTPS, with www. and without, are one site; another port or another host is another one.
        """
        site = site_of("http://example.com/")
        for url in ("https://example.com/a", "http://www.example.com/", "https://www.example.com/?q"):
            self.assertEqual(site_of(url), site)
        for url in ("http://example.com:8080/", "http://sub.example.com/", "http://example.com.evil.example/", "http://example.org/"):
            self.assertNotEqual(site_of(url), site)

    def test_origin(self) -> None:
        """
        A robots.txt is about one scheme, host and port.
        """
        self.assertEqual(origin_of("https://example.com:8443/a?b"), "https://example.com:8443")


class UniqueTests(unittest.TestCase):
    """
    Unique ids.
    """

    def test_same_for_the_same(self) -> None:
        """
        It is the same for the same parts, another one for others, and short enough however long they are.
        """
        long = "http://x/" + "a" * 5000
        self.assertEqual(unique_of(long, 1), unique_of(long, 1))
        self.assertEqual(len({unique_of(long), unique_of(long, 1), unique_of(long, 2), unique_of(long + "b", 1)}), 4)
        self.assertLess(len(unique_of(long, 1)), 64)
