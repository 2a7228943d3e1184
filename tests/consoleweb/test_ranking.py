"""
L{gearsvc.console.ranking}.
"""

from __future__ import annotations

from gearsvc.console.ranking import RANKS, Ranked
from tests.consoleweb.case import ViewsCase


class RankingTests(ViewsCase):
    """
    Functions in an order.
    """

    def ranked(self, by: str, down: bool = True, first: int = 0, limit: int = 10, contains: str = "") -> list[str]:
        """
        The names of some functions, in order.
        """
        self.found: Ranked = self.told(self.views.ranked(by, down, first, limit, contains))
        return [str(each.name) for each in self.found.functions]

    def test_orders(self) -> None:
        """
        Each order is by what it says; those that have equally much are in the order of their names.
        """
        self.assertEqual(self.ranked("name"), [])
        client = self.connect()
        client.says("SUBMIT_JOB_BG old||w")
        self.passes(10)
        client.says(*["SUBMIT_JOB_BG many||w"] * 3, *["SUBMIT_JOB_BG failing||w"] * 2, "SUBMIT_JOB_EPOCH later||9999999999|w")
        one, two = self.worker("failing", "idle"), self.worker("idle")
        (assigned,) = one.says("GRAB_JOB")
        one.says(f"WORK_FAIL {assigned.split()[1].split('|')[0]}", "GRAB_JOB")
        two.says("PRE_SLEEP")
        self.passes(20)
        for by, first in (
            ("waiting", ["many", "old", "failing"]),
            ("running", ["failing", "idle", "later"]),
            ("delayed", ["later", "failing", "idle"]),
            ("oldest", ["old", "many", "failing"]),
            ("workers", ["idle", "failing", "later"]),
            ("failures", ["failing", "idle", "later"]),
            ("rate", ["failing", "idle", "later"]),
            ("name", ["old", "many", "later"]),
        ):
            self.assertEqual(self.ranked(by)[:3], first, by)
        self.assertEqual(self.ranked("name", False), ["failing", "idle", "later", "many", "old"])
        self.assertEqual(self.ranked("waiting", False), ["failing", "idle", "later", "old", "many"])
        self.assertEqual(set(RANKS), {"name", "waiting", "running", "delayed", "oldest", "workers", "failures", "rate"})

    def test_parts(self) -> None:
        """
        Parts of the list follow each other, and each knows how long all of it is.
        """
        client = self.connect()
        for number in range(300):
            client.says(f"SUBMIT_JOB_BG f{number:03}||w")
        seen = []
        for first in range(0, 300, 70):
            seen += self.ranked("waiting", True, first, 70)
            self.assertEqual(self.found.total, 300)
        self.assertEqual(seen, [f"f{number:03}" for number in range(300)])
        self.assertEqual(self.ranked("name", False, 1, 2, "F00"), ["f001", "f002"])
        self.assertEqual(self.found.total, 10)
        self.assertEqual(self.ranked("name", False, 300), [])
