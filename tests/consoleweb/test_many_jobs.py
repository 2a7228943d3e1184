"""
That nobody who looks among very many jobs stops the server: work is done in pieces, each of so many jobs at most.
"""

from __future__ import annotations

from typing import Any

from gearsvc.console.search import JobQuery, search
from gearsvc.core.jobs import Job, JobRecord
from tests.consoleweb.case import ViewsCase
from tests.core.case import NOON

JOBS = 200_000

PIECE = 1024
"""
How many jobs are looked at in one piece, at most.
"""


class CountingJobs(dict[bytes, Job]):
    """
    The job server's table, which counts how many are looked up.
    """

    looked = 0

    def get(self, handle: bytes, default: Any = None) -> Any:
        """
        Look one up.
        """
        self.looked += 1
        return super().get(handle, default)


class ManyJobsTests(ViewsCase):
    """
    A queue of two hundred thousand jobs.
    """

    def setUp(self) -> None:
        """
        Fill it.
        """
        super().setUp()
        self.serve()
        self.server.jobs = self.table = CountingJobs()
        self.server.replay([JobRecord(b"", b"f", b"", 1, b"", submitted=NOON - number) for number in range(JOBS)])
        self.views.register.update()

    def pieces_of(self, **query: Any) -> tuple[int, int, int]:
        """
        Do a search piece by piece.

        @return: how many pieces it took, how many jobs were looked at in the largest, and how many were found.
        """
        work = search(self.server, self.views.register, self.views.history, JobQuery(**query))
        pieces = most = 0
        while True:
            before = self.table.looked
            pieces += 1
            try:
                next(work)
            except StopIteration as end:
                return pieces, max(most, self.table.looked - before), len(end.value.jobs)
            most = max(most, self.table.looked - before)

    def test_pieces(self) -> None:
        """
        Whatever is looked for and however little of it there is, all jobs are looked at, in pieces of so many.
        """
        for query in (
            {"unique": b"nobody"},
            {"states": frozenset({"delayed"})},
            {"function": b"f", "unique": b"nobody", "oldest_first": True},
            {"older": JOBS + 1.0},
        ):
            before = self.table.looked
            pieces, most, found = self.pieces_of(**query)
            self.assertEqual(found, 0)
            self.assertLessEqual(most, PIECE)
            self.assertGreaterEqual(pieces, JOBS // PIECE)
            self.assertEqual(self.table.looked - before, JOBS)

    def test_pages(self) -> None:
        """
        A page costs as many jobs as it has, and some more, wherever it is.
        """
        for query in ({"limit": 100}, {"limit": 1000, "oldest_first": True}, {"limit": 10, "older": JOBS - 5.0, "oldest_first": False}):
            pieces, most, found = self.pieces_of(**query)
            self.assertGreater(found, 0)
            self.assertLessEqual(most, PIECE)
        self.assertLessEqual(self.pieces_of(limit=100)[0], 5)
