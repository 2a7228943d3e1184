"""
The table of packets.
"""

from __future__ import annotations

from unittest import TestCase

from gearsvc.core.packets import LAST_TYPE, LAYOUTS, Sender, Type
from gearsvc.core.requests import HANDLERS, _unexpected


class LayoutTests(TestCase):
    """
    L{LAYOUTS} against the numbers of the protocol.
    """

    def test_complete(self) -> None:
        """
        Every number from 1 to 42 has a layout, but for 5, which nobody uses any more.
        """
        self.assertEqual(sorted(LAYOUTS), [number for number in range(1, LAST_TYPE + 1) if number != 5])

    def test_handlers(self) -> None:
        """
        Exactly the packets that clients and workers send are handled; SUBMIT_JOB_SCHED and ALL_YOURS are refused, as by
        gearmand.
        """
        handled = {kind for kind in LAYOUTS if HANDLERS[kind] is not _unexpected}
        sent = {kind for kind, layout in LAYOUTS.items() if layout.sender != Sender.SERVER}
        self.assertEqual(sent - handled, {Type.SUBMIT_JOB_SCHED, Type.ALL_YOURS})
        self.assertEqual(handled - sent, set())
