"""
The store contract for a store behind a wire.
"""

from __future__ import annotations

from gearsvc.interfaces import IQueueStore
from gearsvc.stores import reconnecting
from gearsvc.testing import BrokenConnectionContract, sleep
from tests.proxy import Proxy


class WireContract(BrokenConnectionContract):
    """
    L{BrokenConnectionContract}, the connection being broken by a L{Proxy}.

    @ivar wire: what the stores connect through.
    """

    wire: Proxy

    async def break_store(self, store: IQueueStore) -> None:
        """
        Cut the wire.
        """
        self.wire.cut()

    async def mend_store(self, store: IQueueStore) -> None:
        """
        Mend it, and wait until the store tries again.
        """
        self.wire.mend()
        await sleep(reconnecting.LAST_PAUSE)

    def cut_after(self, count: int) -> None:
        """
        The wire can do that.
        """
        self.wire.cut_after(count)

    def lose_answers(self) -> None:
        """
        The wire can do that.
        """
        self.wire.lose_answers()
