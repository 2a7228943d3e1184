"""
The parts of pages: L{gearsvc.console.pages.parts}, C{charts} and C{forms}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.template import flattenString

from gearsvc.console.pages import charts, forms, parts
from gearsvc.console.values import Name, Progress
from tests.consoleweb.case import HOSTILE, WITH_NUL


class WordsTests(SynchronousTestCase):
    """
    Numbers and times as people read them.
    """

    def test_ages(self) -> None:
        """
        A length of time has the unit in which it is a small number, and what is nearly the next one is that.
        """
        for seconds, said in (
            (None, "–"),
            (-5.0, "0 s"),
            (0.0, "0 s"),
            (0.0001, "< 1 ms"),
            (0.0004999, "< 1 ms"),
            (0.003, "3 ms"),
            (0.9994, "999 ms"),
            (0.9996, "1.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (119.4, "119 s"),
            (119.6, "2 min"),
            (3569.0, "59 min"),
            (3599.0, "1 h"),
            (4800.0, "1 h 20 min"),
            (86399.0, "1 d"),
            (190000.0, "2 d 5 h"),
            (864000.0 * 400, "4,000 d"),
        ):
            self.assertEqual(parts.age(seconds), said, seconds)

    def test_rates(self) -> None:
        """
        A rate has the digits that matter, and is 0 only if nothing happened.
        """
        for value, said in ((0.0, "0"), (0.017, "0.02"), (1.25, "1.2"), (9.96, "10.0"), (42.4, "42"), (12345.6, "12,346")):
            self.assertEqual(parts.rate(value), said)

    def test_shares(self) -> None:
        """
        A share that is not nothing is not said to be nothing.
        """
        for value, said in ((None, "–"), (0.0, "0%"), (0.0004, "< 0.1%"), (0.012, "1.2%"), (0.123, "12%"), (1.0, "100%")):
            self.assertEqual(parts.share(value), said)

    def test_sizes(self) -> None:
        """
        Bytes are counted in powers of 1024.
        """
        for value, said in ((0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**2, "5.0 MiB"), (2**41, "2,048.0 GiB")):
            self.assertEqual(parts.size(value), said)

    def test_moments(self) -> None:
        """
        A time is there for people, for programs and, if it is beyond the calendar, as a number.
        """
        self.assertEqual(
            self.written(parts.moment(1_800_000_000.6)), '<time datetime="2027-01-15T08:00:00Z">2027-01-15 08:00:00</time>'
        )
        self.assertEqual(parts.moment(None), "–")
        self.assertEqual(parts.moment(1e18), "1000000000000000000 s after 1970")
        self.assertEqual(parts.ago(1e18, 0.0), "1000000000000000000 s after 1970")

    def test_ago(self) -> None:
        """
        A time beside another is before it, after it, or the same.
        """
        now = 1_800_000_000.0
        for at, said in ((now - 7200, "2 h ago"), (now + 90, "in 90 s"), (now - 0.2, "just now"), (now + 0.5, "just now")):
            self.assertIn(f">{said}<", self.written(parts.ago(at, now)))
        self.assertEqual(parts.ago(None, now), "–")

    def test_progress(self) -> None:
        """
        Progress is a bar if it makes sense, and otherwise what the worker said.
        """
        self.assertIn('value="0.250"', self.written(parts.progress(Progress(Name(b"1"), Name(b"4"), 0.25))))
        self.assertEqual(parts.progress(Progress(Name(b"<b>"), Name(b"0"), None)), "<b> / 0")
        self.assertEqual(parts.progress(None), "–")

    def written(self, shown: Any) -> str:
        """
        Something as it is sent.
        """
        return self.successResultOf(flattenString(None, shown)).decode()


class NameTests(SynchronousTestCase):
    """
    Names that peers chose.
    """

    def test_hostile(self) -> None:
        """
        Whatever a name is, it is text in an element of ours, no longer than it may be, and its link leads to it.
        """
        for raw in (*HOSTILE, *WITH_NUL, b""):
            written = self.successResultOf(flattenString(None, parts.function_link(Name(raw)))).decode()
            self.assertRegex(
                written,
                r"""\A<a href="/functions/[~A-Za-z0-9._%-]+"><span class="name[a-z ]*"( title="[^"<]*")?>[^<]+</span></a>\Z""",
            )
            self.assertLess(len(written.partition("</span>")[0].rpartition(">")[2]), 6 * parts.LONG)

    def test_confirmation(self) -> None:
        """
        A name that can be typed is what confirms; in place of one that can't, it is what is to be done.
        """
        self.assertEqual(forms.typed(Name(b"resize"), "drop"), "resize")
        self.assertEqual(forms.typed(Name(b"tab\there"), "drop"), "tab\\there")
        for raw in (b"", b" a", b"a ", b"x" * 61):
            self.assertEqual(forms.typed(Name(raw), "drop"), "drop")


class ScaleTests(SynchronousTestCase):
    """
    From values to heights.
    """

    def test_linear(self) -> None:
        """
        A scale ends at a round number that nothing is above, and not far above.
        """
        for most, top in ((0.0, 1.0), (0.3, 0.4), (1.0, 1.0), (1.1, 2.0), (37.0, 40.0), (61.0, 80.0), (99_999.0, 100_000.0)):
            scale = charts.linear(most)
            self.assertAlmostEqual(scale.ticks[-1], top)
            self.assertEqual(scale.height(0.0), 0.0)
            self.assertLessEqual(scale.height(most), 1.0)

    def test_logarithmic(self) -> None:
        """
        A scale of powers of ten begins at a thousandth, has at least three of them, and puts each where its line is.
        """
        for most, top in ((0.0, 1.0), (0.002, 1.0), (1.0, 1.0), (1.01, 10.0), (86_400.0, 100_000.0)):
            scale = charts.logarithmic(most)
            self.assertAlmostEqual(scale.ticks[-1], top)
            for number, tick in enumerate(scale.ticks):
                self.assertAlmostEqual(scale.height(tick), number / (len(scale.ticks) - 1))
            self.assertEqual(scale.height(0.0), 0.0)


class ChartTests(SynchronousTestCase):
    """
    What is drawn.
    """

    def drawn(self, at: list[float], values: list[float | None]) -> str:
        """
        A chart of one line that ends at 600.
        """
        line = charts.Line("Waiting", "waiting", values, filled=True)
        shown = charts.chart("c", "Jobs", at, 600.0, [line], charts.linear(10), parts.rate)
        return self.successResultOf(flattenString(None, shown)).decode()

    def test_line(self) -> None:
        """
        A line goes from time to time, from the left to the right, and what is larger is higher.
        """
        written = self.drawn([0.0, 300.0, 600.0], [0.0, 5.0, 10.0])
        self.assertIn('d="M0.0 100.0L300.0 50.0L600.0 0.0"', written)
        self.assertIn('d="M0.0 100L0.0 100.0L300.0 50.0L600.0 0.0L600.0 100Z"', written)
        self.assertIn('aria-label="Jobs, the last ten minutes. Waiting: 10 now, from 0 to 10."', written)

    def test_gaps(self) -> None:
        """
        Where there is no value there is no line, and a value that stands alone is a dot.
        """
        written = self.drawn([0.0, 150.0, 300.0, 450.0], [10.0, None, 10.0, None])
        self.assertIn('d="M0.0 0.0L0.0 0.0M300.0 0.0L300.0 0.0"', written)

    def test_nothing(self) -> None:
        """
        A chart without any values says that nothing happened.
        """
        self.assertIn("Nothing happened.", self.drawn([], []))
        self.assertIn("Nothing happened.", self.drawn([10.0], [None]))

    def test_before(self) -> None:
        """
        What was before the chart begins is not drawn beside it.
        """
        self.assertNotIn("-", self.drawn([-400.0, -5.0, 300.0], [1.0, 1.0, 1.0]).partition('d="')[2].partition('"')[0])

    def test_sparkline(self) -> None:
        """
        A sparkline is as high as its largest value, and nothing if nothing happened.
        """
        self.assertEqual(charts.sparkline([], "x"), "")
        written = self.successResultOf(flattenString(None, charts.sparkline([0, 4, 2], "x"))).decode()
        self.assertIn('d="M0.0 23.0L60.0 2.0L120.0 12.5"', written)
