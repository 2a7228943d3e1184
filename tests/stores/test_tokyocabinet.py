"""
Tests for L{gearsvc.stores.tokyocabinet}: the contract, and what goes wrong with files and disks.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from gearsvc.interfaces import IQueueStore
from gearsvc.stores.tokyocabinet import TokyoCabinetStore
from gearsvc.testing import QueueStoreContract


def new_path(case: SynchronousTestCase, suffix: str) -> Path:
    """
    @return: where no file is, in a new directory that is removed after the test.
    """
    directory = tempfile.mkdtemp(prefix="gearsvc-")
    case.addCleanup(shutil.rmtree, directory)
    return Path(directory) / f"queue{suffix}"


class HashTableContract(QueueStoreContract, TestCase):
    """
    The store contract, over a hash table.
    """

    suffix = ".tch"

    def setUp(self) -> None:
        """
        Choose a new file.
        """
        self.path = new_path(self, self.suffix)

    def make_store(self) -> IQueueStore:
        """
        A store in this test's file.
        """
        return TokyoCabinetStore(str(self.path))

    async def break_store(self, store: IQueueStore) -> None:
        """
        Move the file away.
        """
        self.path.rename(self.path.with_suffix(".away"))

    async def mend_store(self, store: IQueueStore) -> None:
        """
        Move it back.
        """
        self.path.with_suffix(".away").rename(self.path)

    async def end_abruptly(self, store: IQueueStore) -> None:
        """
        Go on with what is on the disk at this moment; the store would tidy up
        as it closes.
        """
        found = new_path(self, self.suffix)
        shutil.copy(self.path, found)
        shutil.copy(f"{self.path}.wal", f"{found}.wal")
        await store.close()
        self.path = found


class TreeContract(HashTableContract):
    """
    The same, over a B+ tree.
    """

    suffix = ".tcb"
