"""
Tests for L{gearsvc.stores.tokyocabinet} with gearmand's records: what gearmand has stored is found, and what we have stored
gearmand would find.  (See L{tests.stores.tokyocabinets}: Debian's gearmand can't do it itself.)
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gearsvc.core.packets import Type
from gearsvc.stores import tokyocabinet
from tests.running import start_server
from tests.stores.takeover import Peer, let_removals_go
from tests.stores.test_tokyocabinet import new_path
from tests.stores.tokyocabinets import Cabinet, Job, as_gearmand_reads, gearmands_record, key_gearmand_removes

LATER = 2**33
"""A time that does not come."""


class HashTableTakeover(SynchronousTestCase):
    """
    With a hash table.
    """

    suffix = ".tch"

    def setUp(self) -> None:
        """
        Choose a new file.
        """
        self.path = new_path(self, self.suffix)

    def start(self) -> Peer:
        """
        Start our server on the file.

        @return: a connection to it.
        """
        options = ["-q", "tokyocabinet", "--libtokyocabinet-file", str(self.path)]
        self.server = start_server(*options, directory=self.path.parent, kind="gearsvc")
        self.addCleanup(lambda server: server.running and server.kill(), self.server)
        peer = Peer(self.server)
        self.addCleanup(peer.close)
        return peer

    def replay_of_gearmand(self) -> dict[bytes, Job]:
        """
        @return: what gearmand would find in the file, by its key.
        """
        with Cabinet(self.path) as cabinet:
            return {key: as_gearmand_reads(value) for key, value in cabinet.items().items()}

    def test_from_gearmand(self) -> None:
        """
        Jobs that gearmand has stored run, with their priorities and times, each once, and are gone then; one without a unique
        id, too, with which gearmand itself would not start again.
        """
        jobs = [
            Job(b"resize", b"low", b"one\0\xff\n", 2, 0),
            Job(b"resize", b"normal", b"two", 1, 0),
            Job(b"resize", b"high", b"three", 0, 0),
            Job(b"resize", b"", b"four", 1, 0),
            Job(b"resize", b"empty", b"", 1, 0),
            Job(b"rotate", b"normal", b"five", 1, 0),
            Job(b"re-size", b"a-b", b"six", 1, 0),
            Job(b"re\xffsize", b"high\xfe", b"seven", 1, 0),
            Job(b"resize", b"u" * 63, bytes(300_000), 1, 0),
            Job(b"resize", b"past", b"eight", 1, 1_000_000_000),
            Job(b"resize", b"later", b"not yet", 1, LATER),
        ]
        with Cabinet(self.path) as cabinet:
            for job in jobs:
                cabinet.put(*gearmands_record(*job))
        worker = self.start()
        done = worker.drain(b"resize", b"rotate", b"re-size", b"re\xffsize")
        self.assertEqual(sorted(done), sorted(job[:3] for job in jobs[:-1]))
        resized = [unique for function, unique, _ in done if function == b"resize"]
        self.assertEqual((resized[0], resized[-1]), (b"high", b"low"))
        self.assertEqual(self.server.status("resize")[0], 1)
        self.assertEqual(self.server.stop(), 0)
        self.assertEqual(self.replay_of_gearmand(), {b"resize-later": jobs[-1]})

    def test_to_gearmand(self) -> None:
        """
        What we have stored gearmand finds: function, workload, priority and time, and the unique id where it can keep it; and
        it would remove each of the records.
        """
        client = self.start()
        client.submit(Type.SUBMIT_JOB_LOW_BG, b"resize", b"low", b"one")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"two")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"three")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"-", b"four")
        client.submit(Type.SUBMIT_JOB_BG, b"resize", b"v" * 64, b"five")
        client.submit(Type.SUBMIT_REDUCE_JOB_BACKGROUND, b"resize", b"reduced", b"sum", b"", b"six")
        client.submit(Type.SUBMIT_JOB_HIGH_BG, b"re-size", b"high", b"\0seven\0")
        client.submit(Type.SUBMIT_JOB_EPOCH, b"resize", b"later", b"%d" % LATER, b"")
        self.server.kill()
        found = self.replay_of_gearmand()
        self.assertEqual(
            sorted((job.function, job.workload, job.priority, job.when) for job in found.values()),
            [
                (b"re-size", b"\0seven\0", 0, 0),
                (b"resize", b"", 1, LATER),
                (b"resize", b"five", 1, 0),
                (b"resize", b"four", 1, 0),
                (b"resize", b"one", 2, 0),
                (b"resize", b"six", 1, 0),
                (b"resize", b"three", 1, 0),
                (b"resize", b"two", 1, 0),
            ],
        )
        kept = {job.unique for job in found.values() if not job.unique.startswith(b"gearsvc:")}
        self.assertEqual(kept, {b"low", b"reduced", b"later"})
        self.assertEqual({key_gearmand_removes(job) for job in found.values()}, set(found))

    def test_there_and_back(self) -> None:
        """
        A file that gearmand wrote, to which we added and from which we removed, goes back to gearmand, and comes back to us
        with what each of us left.
        """
        with Cabinet(self.path) as cabinet:
            cabinet.put(*gearmands_record(b"resize", b"theirs", b"one"))
            cabinet.put(*gearmands_record(b"rotate", b"theirs", b"two"))
        peer = self.start()
        handle = peer.submit(Type.SUBMIT_JOB_BG, b"resize", b"", b"three")
        self.assertEqual(peer.drain(b"rotate"), [(b"rotate", b"theirs", b"two")])
        let_removals_go()
        # Once this is acknowledged, the other job is gone.
        peer.submit(Type.SUBMIT_JOB_BG, b"flip", b"ours", b"four")
        self.server.kill()
        self.assertEqual({job.workload for job in self.replay_of_gearmand().values()}, {b"one", b"three", b"four"})
        with Cabinet(self.path) as cabinet:
            self.assertTrue(cabinet.out(b"flip-ours"))
            cabinet.put(*gearmands_record(b"resize", b"more", b"five"))
        peer = self.start()
        self.assertIn(handle + b"\t", self.server.admin("show jobs"))
        self.assertEqual(
            sorted(peer.drain(b"resize", b"flip", b"rotate")),
            [(b"resize", b"", b"three"), (b"resize", b"more", b"five"), (b"resize", b"theirs", b"one")],
        )

    def test_one_key_of_two_jobs(self) -> None:
        """
        A job whose key is that of one that gearmand has stored (it makes one of a-b with c and of a with b-c) is beside it.
        """
        with Cabinet(self.path) as cabinet:
            cabinet.put(*gearmands_record(b"a-b", b"c", b"theirs"))
        client = self.start()
        client.submit(Type.SUBMIT_JOB_BG, b"a", b"b-c", b"ours")
        self.server.kill()
        client = self.start()
        self.assertEqual(client.drain(b"a"), [(b"a", b"b-c", b"ours")])
        let_removals_go()
        client.submit(Type.SUBMIT_JOB_BG, b"x", b"x", b"x")
        self.server.kill()
        client = self.start()
        self.assertEqual(client.drain(b"a", b"a-b"), [(b"a-b", b"c", b"theirs")])

    def test_gearmand_is_there(self) -> None:
        """
        While another program has the file open, we don't start, and say so.
        """
        database = tokyocabinet.Database(str(self.path))
        with Cabinet(self.path):
            error = self.assertRaises(tokyocabinet.StoreError, database.open)
        self.assertIn(f"The queue database {self.path} fails: ", str(error))
        self.assertFalse(error.unreachable)


class TreeTakeover(HashTableTakeover):
    """
    With a B+ tree.
    """

    suffix = ".tcb"
