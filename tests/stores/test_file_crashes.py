"""
A process that commits to a queue file is killed, again and again, at any
moment; compactions are under way nearly all the time.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gearsvc.core.jobs import JobRecord
from gearsvc.stores import compaction, file as file_module
from gearsvc.stores.file import QueueFile
from gearsvc.stores.journalentries import encode
from gearsvc.testing import fields_of, record
from tests.running import PATIENCE, ROOT
from tests.stores.queuefiles import QueueFileCase

KILLS = 25


def batches(seed: int) -> Iterator[tuple[list[JobRecord], list[JobRecord]]]:
    """
    Batches without end, the same each time: jobs come, change, go, and some
    that are not there go as well.

    @return: of each batch the jobs that are added and those that are removed.
    """
    dice = random.Random(seed)
    there: list[JobRecord] = []
    number = 0
    while True:
        removed = [there.pop(dice.randrange(len(there))) for _ in range(min(len(there), dice.randrange(1, 9)))]
        added = dice.sample(there, min(len(there), dice.randrange(3)))
        for job in added:
            job.attempts += 1
        for _ in range(dice.randrange(1, 9)):
            number += 1
            job = record(number, unique=dice.randbytes(dice.randrange(20)), workload=dice.randbytes(dice.choice([0, 30, 3000])))
            added.append(job)
            there.append(job)
        yield added, removed + [record(-number)]


def work(path: str, seed: int, count: int) -> None:
    """
    Commit all batches from one on, and write how many are committed, until
    somebody ends this process.
    """
    file_module.COMPACT_BYTES = 1000
    file_module.COMPACT_AGAIN_SECONDS = 0.0
    compaction.PAUSE_SECONDS = 0.0005
    compaction.FRAME_BYTES = 5000
    compaction.SYNC_BYTES = 20_000
    file = QueueFile(path, lambda warning, text: print(text, file=sys.stderr) if warning else None)
    file.open()
    for _ in file.pieces():
        pass
    for number, (added, removed) in enumerate(batches(seed)):
        if number >= count:
            file.write(*encode(added, removed))
            os.write(1, b"%d\n" % (number + 1))


class KilledTests(QueueFileCase):
    """
    C{kill -9}.
    """

    def test_nothing_is_lost(self) -> None:
        """
        Whenever the process is killed, what was committed is there, each job
        as it was last and in its place; and of the batch that was under way
        all or nothing.
        """
        seed = random.SystemRandom().randrange(1 << 32)
        dice = random.Random(seed)
        coming = batches(seed)
        model: dict[bytes, Any] = {}
        committed = in_compaction = 0

        def advance() -> None:
            nonlocal committed
            added, removed = next(coming)
            for job in removed:
                model.pop(job.handle, None)
            for job in added:
                model[job.handle] = fields_of(job)
            committed += 1

        for _ in range(KILLS):
            program = f"from tests.stores.test_file_crashes import work; work({str(self.path)!r}, {seed}, {committed})"
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            with subprocess.Popen(
                [sys.executable, "-c", program], env=environment, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as process:
                assert process.stdout is not None and process.stderr is not None
                try:
                    self.assertTrue(process.stdout.readline(), "the process ended")
                    time.sleep(dice.uniform(0.0, 0.25))
                finally:
                    process.kill()
                said, problems = process.communicate(timeout=PATIENCE)
            self.assertEqual(problems, b"")
            # (The first line was read.)
            reached = committed + 1 + said.count(b"\n")
            in_compaction += Path(f"{self.path}.new").exists()
            while committed < reached:
                advance()
            stored = self.stored()
            if stored != list(model.values()):
                advance()
            self.assertTrue(stored == list(model.values()), f"seed {seed}, batch {committed}")
        self.assertGreater(committed, 10 * KILLS)
        self.assertGreater(in_compaction, 0)
