"""
Connections, and what leaves them at the end of a turn.
"""

from __future__ import annotations

from zope.interface.verify import verifyObject

from gearsvc.core.wire import PacketDecoder, encode
from gearsvc.core.packets import REQUEST, Type
from gearsvc.interfaces import IPeer
from tests.core.case import NOON, CoreCase


class TurnTests(CoreCase):
    """
    Output is collected, and leaves in one piece.
    """

    def test_peer(self) -> None:
        """
        The connection that these tests talk through is a peer as the server expects one.
        """
        self.assertTrue(verifyObject(IPeer, self.connect()))

    def test_one_write(self) -> None:
        """
        What one turn produces leaves each connection in one write, and nobody else is written to.
        """
        client, other, idle, worker = self.connect(), self.connect(), self.connect(), self.worker("f")
        client.says("ECHO_REQ a", "SUBMIT_JOB f|u|x", "ECHO_REQ b")
        other.says("SUBMIT_JOB f|u|x")
        self.assertEqual((client.writes, other.writes), (1, 1))
        worker.says("GRAB_JOB", "WORK_DATA H:1|a", "WORK_DATA H:1|b", "WORK_COMPLETE H:1|c")
        self.assertEqual((client.writes, other.writes, worker.writes, idle.writes), (2, 2, 1, 0))

    def test_receive_collects(self) -> None:
        """
        Nothing leaves before the turn's end, so that one turn may take in what several connections have sent.
        """
        client, worker = self.connect(), self.worker("f")
        self.server.receive(client.session, [(Type.SUBMIT_JOB, b"f\0u\0x"), (Type.ECHO_REQ, b"a")])
        self.server.receive(worker.session, [(Type.GRAB_JOB, b""), (Type.WORK_COMPLETE, b"H:1\0y")])
        self.assertEqual((client.writes, worker.writes), (0, 0))
        self.server.flush()
        self.assertEqual((client.writes, worker.writes), (1, 1))
        self.assertEqual(client.hears(), ["JOB_CREATED H:1", "ECHO_RES a", "WORK_COMPLETE H:1|y"])
        self.assertEqual(worker.hears(), ["JOB_ASSIGN H:1|f|x"])

    def test_nothing_to_say(self) -> None:
        """
        A turn that says nothing writes nothing.
        """
        worker = self.worker("f", "g")
        worker.says("CANT_DO f", "SET_CLIENT_ID x", "PRE_SLEEP")
        self.server.flush()
        self.assertEqual(worker.writes, 0)

    def test_one_time_a_turn(self) -> None:
        """
        All jobs of a turn have been submitted at one time, and those of the next at another.
        """
        client = self.connect()
        packets = PacketDecoder().feed(encode(Type.SUBMIT_JOB_BG, b"f\0\0x", REQUEST) * 2)
        self.server.receive(client.session, packets[:1])
        self.clock.wall += 5
        self.server.receive(client.session, packets[1:])
        self.server.flush()
        self.server.receive(client.session, packets[:1])
        self.assertEqual([job.submitted for job in self.server.jobs.values()], [NOON, NOON, NOON + 5])

    def test_text_and_packets(self) -> None:
        """
        One connection may be client, worker and administrator at once; replies have the order of the requests.
        """
        both = self.connect()
        self.assertEqual(
            both.says("CAN_DO f", "SUBMIT_JOB f||x", "status\n", "GRAB_JOB", "status\r\n", "WORK_COMPLETE H:1|y"),
            [
                "JOB_CREATED H:1",
                "f\t1\t0\t1\n",
                ".\n",
                "JOB_ASSIGN H:1|f|x",
                "f\t1\t1\t1\n",
                ".\n",
                "WORK_COMPLETE H:1|y",
            ],
        )

    def test_gone_in_the_turn(self) -> None:
        """
        A peer that goes before the turn's end takes nothing along that others were to be told.
        """
        client, worker = self.connect(), self.worker("f")
        self.server.receive(client.session, [(Type.SUBMIT_JOB, b"f\0u\0x")])
        client.hangs_up()
        self.server.flush()
        self.assertEqual((client.hears(), worker.says("GRAB_JOB")), ([], ["NO_JOB"]))

    def test_many_functions_and_peers(self) -> None:
        """
        Connections that have come and gone leave nothing in the server.
        """
        for _ in range(50):
            peer = self.sleeper("f", "g")
            peer.says("SUBMIT_JOB f|u|x", "GRAB_JOB", "SUBMIT_JOB g|-|y", "show jobs\n")
            peer.hangs_up()
        self.assertEqual(self.server.sessions, {})
        self.assertEqual(self.status(), ["f 0 0 0", "g 0 0 0"])
        for queue in self.server.functions.values():
            self.assertEqual((queue.workers, queue.sleepers), ({}, {}))
        self.clock.advance(10)
        self.assertEqual(self.clock.pending(), 0)
        self.assert_nothing_left()
