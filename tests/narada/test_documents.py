"""
L{examples.narada.documents} and L{examples.narada.query}.
"""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

from examples.narada.documents import FAILED, FETCHED, INDEXED, MARK_BEGIN, MARK_END, WAITING, Documents, Limits, Row
from examples.narada.parsing import Page
from examples.narada.query import LONGEST, BadQuery, match_expression

SITE = "http://h/"


class DocumentsCase(unittest.TestCase):
    """
    Has a database, in which the crawl of one site has begun.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        directory = Path(tempfile.mkdtemp(prefix="narada-test-"))
        self.addCleanup(shutil.rmtree, directory)
        self.path = directory / "narada.db"
        self.documents = Documents(self.path)
        self.addCleanup(self.documents.close)
        self.documents.set_limits(SITE, Limits(2, 10, 0))

    def insert(self, url: str, level: int = 0) -> Row:
        """
        Insert a URL that is not refused.
        """
        row = self.documents.insert(url, level)
        assert isinstance(row, Row), row
        return row

    def fetched(self, url: str, level: int = 0, links: list[str] = [], title: str = "", text: str = "") -> Row:
        """
        Insert a URL and store its page.
        """
        self.insert(url, level)
        row = self.documents.begin(url)
        assert row is not None
        return self.documents.store(row, Page(title, text), links)


class PipelineTests(DocumentsCase):
    """
    URLs on their way.
    """

    def test_a_url_is_one_row(self) -> None:
        """
        Inserted again, by whomever, a URL is the same row; only the first time it is new.
        """
        first, second = self.insert(SITE), self.insert(SITE)
        self.assertEqual((first.number, first.new, second.new), (second.number, True, False))
        other = Documents(self.path)
        self.addCleanup(other.close)
        self.assertEqual(other.insert(SITE, 0), second)

    def test_filter(self) -> None:
        """
        A URL of another site, too deep a one, and one too many are refused with a reason.
        """
        self.assertIn("no crawl", str(self.documents.insert("http://other/", 0)))
        self.assertIn("too deep", str(self.documents.insert(SITE, 3)))
        for number in range(10):
            self.insert(f"{SITE}{number}", 1)
        self.assertIn("enough", str(self.documents.insert(f"{SITE}10", 1)))
        self.assertFalse(self.insert(f"{SITE}9", 1).new)

    def test_steps_taken_twice(self) -> None:
        """
        A page that is stored or indexed again stays as it was.
        """
        row = self.fetched(SITE, links=["http://h/a"], title="one")
        again = self.documents.store(row, Page("two", "two"), ["http://h/b"])
        self.assertEqual(again.state, FETCHED)
        self.assertEqual(self.documents.targets(row), [("http://h/a", 1)])
        self.assertEqual((self.documents.index([SITE]), self.documents.index([SITE])), (1, 0))
        began = self.documents.begin(SITE)
        assert began is not None
        self.assertEqual((began.state, began.wants_request), (INDEXED, False))
        self.assertEqual([each.title for each in self.documents.search("one OR two").found], [f"{MARK_BEGIN}one{MARK_END}"])

    def test_killed_while_it_requests(self) -> None:
        """
        What was being requested when its worker was killed has to be requested still.
        """
        self.insert(SITE)
        self.documents.begin(SITE)
        self.assertEqual(self.documents.unfinished(), [(SITE, 0)])
        again = self.documents.begin(SITE)
        assert again is not None
        self.assertTrue(again.wants_request)

    def test_nearer_than_known(self) -> None:
        """
        A page that is found again, nearer to the beginning, hands on its links again, which are nearer, too; one that is
        found again farther away does not.
        """
        row = self.fetched("http://h/a", 2, links=["http://h/b"])
        self.assertEqual(self.documents.targets(row), [])
        self.documents.fed(row)
        self.assertFalse(self.insert("http://h/a", 2).wants_feeding)
        nearer = self.insert("http://h/a", 1)
        self.assertTrue(nearer.wants_feeding)
        self.assertEqual(self.documents.targets(nearer), [("http://h/b", 2)])
        self.documents.fed(nearer)
        self.assertFalse(self.insert("http://h/a", 2).wants_feeding)

    def test_redirect_is_no_step(self) -> None:
        """
        Where a URL redirects to is as near as itself.
        """
        row = self.insert(SITE, 2)
        moved = self.documents.move(row, "http://h/new", "to http://h/new")
        self.assertEqual(self.documents.targets(moved), [("http://h/new", 2)])

    def test_unfinished(self) -> None:
        """
        Until a crawl is complete, what has to be handed in for it to go on is known from the database alone.
        """
        unfinished = lambda: dict(self.documents.unfinished())
        self.assertEqual(unfinished(), {SITE: 0})
        row = self.fetched(SITE, links=["http://h/a", "http://h/b"])
        self.assertEqual(unfinished(), {SITE: 0, "http://h/a": 1, "http://h/b": 1})
        self.documents.fed(row)
        self.documents.index([SITE])
        # Its links are not, though they were handed on.
        self.assertEqual(unfinished(), {"http://h/a": 1, "http://h/b": 1})
        self.documents.give_up(self.insert("http://h/a", 1), FAILED, "404")
        self.assertEqual(unfinished(), {"http://h/b": 1})
        deep = self.fetched("http://h/b", 1, links=["http://h/c"])
        self.documents.fed(deep)
        self.documents.index(["http://h/b"])
        self.documents.fed(self.fetched("http://h/c", 2, links=["http://h/d"]))
        self.documents.index(["http://h/c"])
        self.assertEqual(unfinished(), {})
        self.documents.set_limits(SITE, Limits(3, 10, 0))
        self.assertEqual(unfinished(), {"http://h/d": 3})
        self.documents.set_limits(SITE, Limits(3, 4, 0))
        self.assertEqual(unfinished(), {})

    def test_turns(self) -> None:
        """
        Workers that want to request something of one host at once get times that are the delay apart.
        """
        first, second, third = (self.documents.reserve("http://h", 10.0) for _ in range(3))
        self.assertEqual(first, 0)
        self.assertAlmostEqual(second, 10, delta=5)
        self.assertAlmostEqual(third - second, 10, delta=5)
        self.assertEqual(self.documents.reserve("http://other", 10.0), 0)

    def test_counts(self) -> None:
        """
        The progress that is shown is the number of URLs of each state.
        """
        self.insert(SITE)
        self.fetched("http://h/a", 1)
        self.documents.give_up(self.insert("http://h/b"), FAILED, "404")
        counts = {state: count for state, count in self.documents.counts().items() if count}
        self.assertEqual(counts, {WAITING: 1, FETCHED: 1, FAILED: 1})
        self.assertEqual(self.documents.urls(FAILED), [("http://h/b", "404")])
        self.assertEqual({url for url, _, _ in self.documents.latest(9)}, {"http://h/a", "http://h/b"})


class SearchTests(DocumentsCase):
    """
    Queries.
    """

    PAGES = {
        "garden": ("The garden", "Volunteers weed it on Saturdays, and eat leeks."),
        "kitchen": ("The kitchen", "Leeks again. The garden is not far. Café, open late."),
        "board": ("Board of directors", "It meets on Tuesdays; directors of the board are volunteering."),
    }

    def setUp(self) -> None:
        """
        Index some pages.
        """
        super().setUp()
        for name, (title, text) in self.PAGES.items():
            self.fetched(SITE + name, title=title, text=text)
        self.documents.index(SITE + name for name in self.PAGES)

    def found(self, query: str) -> list[str]:
        """
        The pages' names, the best first.
        """
        return [each.url.removeprefix(SITE) for each in self.documents.search(query).found]

    def test_syntax(self) -> None:
        """
        Words, phrases, words that must not be there, beginnings of words, and alternatives, in any case, inflection and accent.
        """
        for query, names in {
            "garden": {"garden", "kitchen"},
            "GARDEN leek": {"garden", "kitchen"},
            "garden -kitchen": {"garden"},
            "volunteer": {"garden", "board"},
            "cafe": {"kitchen"},
            "café": {"kitchen"},
            '"board of directors"': {"board"},
            '"directors of board"': set(),
            '"leeks again': {"kitchen"},
            'leeks -"leeks again"': {"garden"},
            "satur*": {"garden"},
            "satur": set(),
            "tuesday OR saturday": {"board", "garden"},
            "tuesday OR garden -kitchen": {"board", "garden"},
            "volunteer nothing": set(),
        }.items():
            self.assertEqual(set(self.found(query)), names, query)

    def test_ranking(self) -> None:
        """
        A page whose title has the word comes before one that has it in its text.
        """
        self.assertEqual(self.found("garden"), ["garden", "kitchen"])

    def test_excerpt(self) -> None:
        """
        What was searched for is marked in title and excerpt.
        """
        [first, _] = self.documents.search("garden").found
        self.assertEqual(first.title, f"The {MARK_BEGIN}garden{MARK_END}")
        [only] = self.documents.search("tuesday").found
        self.assertIn(f"{MARK_BEGIN}Tuesdays{MARK_END}", only.excerpt)

    def test_page_by_page(self) -> None:
        """
        Results can be had a few at a time, and their number at once.
        """
        results = [self.documents.search("leek OR board", 1, offset) for offset in range(4)]
        self.assertEqual([each.total for each in results], [3] * 4)
        self.assertEqual(len({found.url for each in results for found in each.found}), 3)

    def test_hostile(self) -> None:
        """
        Whatever is typed, it is never FTS5's own syntax: it finds pages, or none, or is refused with what to do.
        """
        for query in (
            "NEAR(garden leek)", "title:garden", "{title text}: garden", "^garden", "garden AND", "NOT garden", "AND", "NOT",
            "garden NOT kitchen", '"', '"""', "'", "garden'; DROP TABLE url; --", "*", "garden*kitchen", "(", ")", "a + b", "-", "--",
            "-garden", "OR", "OR OR", "garden OR", "\0", "garden\0kitchen", "\ud800", "\x02garden\x03", "🥬", "garden 🥬", ":", "col : x",
            '"garden" * "kitchen"', "-\"", "\\", "%", "_", "garden, leek", "﷽" * 99, "a " * 149,
        ):  # fmt: skip
            try:
                self.documents.search(query)
            except BadQuery as error:
                self.assertRegex(str(error), r"^(Type|That).+\.$")
        self.assertEqual(set(self.found("garden 🥬")), {"garden", "kitchen"})
        self.assertEqual(self.found("AND"), ["garden"])

    def test_refused(self) -> None:
        """
        A query that has nothing to look for, or far too much, is refused.
        """
        for query, why in {"": "Type a word", "!?": "Type a word", "-garden": "should have", "a" * (LONGEST + 1): "301 characters"}.items():
            with self.assertRaisesRegex(BadQuery, why):
                match_expression(query)
        with self.assertRaisesRegex(BadQuery, "too much"):
            match_expression(" ".join("abcdefghijklmnopqrstuvwxyz0123456789"))
