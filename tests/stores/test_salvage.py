"""
Tests for L{gearsvc.stores.salvage}: what is saved of a damaged queue file.
"""

from __future__ import annotations

import os
import subprocess
import sys

from gearsvc.interfaces import StoreError
from gearsvc.stores.salvage import salvage
from gearsvc.testing import fields_of, record
from tests.running import ROOT
from tests.stores.queuefiles import QueueFileCase, frames_of, jobs_of, with_crc


class SalvageTests(QueueFileCase):
    """
    A file with five batches of two jobs each.
    """

    def setUp(self) -> None:
        """
        Write the file.
        """
        super().setUp()
        self.jobs = [record(number, workload=b"work" * number) for number in range(10)]
        file = self.open()
        for start in range(0, 10, 2):
            self.write(file, *self.jobs[start : start + 2])
        file.close()
        self.data = self.path.read_bytes()
        # Of the batches alone.
        self.frames = frames_of(self.data)[1:-1]
        self.target = self.directory / "saved.log"
        self.lines: list[str] = []

    def assert_saved(self, data: bytes, batches: str, *lines: str) -> None:
        """
        Hold that of a file some batches are saved, to a file that can be used.

        @param batches: their numbers.
        @param lines: what is said of the rest.
        """
        self.path.write_bytes(data)
        self.lines.clear()
        salvage(str(self.path), str(self.target), self.lines.append)
        self.assertEqual(self.path.read_bytes(), data)
        self.assertEqual(sorted(os.listdir(self.directory)), ["queue.log", "saved.log"])
        expected = [fields_of(self.jobs[number]) for batch in batches for number in (2 * int(batch), 2 * int(batch) + 1)]
        self.assertEqual(jobs_of(self.target.read_bytes()), expected)
        self.assertEqual(self.lines, [*lines, f"{len(expected)} jobs were saved to {self.target}."])
        place, self.path = self.path, self.target
        self.assertEqual(self.stored(), expected)
        self.path = place
        self.target.unlink()

    def test_broken_batches(self) -> None:
        """
        A batch with a wrong byte, in its header or elsewhere, is left out, and
        all others are saved; so is it with several.
        """
        self.assert_saved(self.data, "01234")
        (first, second), (_, third), (last, end) = (self.frames[batch] for batch in (1, 2, 4))
        for offset in (0, 20, 30, 31, 40, 100):
            data = bytearray(self.data)
            for start in (first, second, last):
                data[start + offset] ^= 0x55
            # Two with broken headers are one piece that can't be read, two with broken payloads are two.
            pieces = [(first, third)] if offset < 32 else [(first, second), (second, third)]
            lines = [f"{end - start} bytes at offset {start} can't be read." for start, end in [*pieces, (last, end)]]
            self.assert_saved(bytes(data), "03", *lines)

    def test_moved(self) -> None:
        """
        Batches behind a gap, or behind bytes that do not belong there, are
        saved where they are.
        """
        start, end = self.frames[1]
        self.assert_saved(self.data[: start + 10] + self.data[end:], "0234", f"10 bytes at offset {start} can't be read.")
        self.assert_saved(self.data[:start] + bytes(5000) + self.data[start:], "01234", f"5000 bytes at offset {start} can't be read.")

    def test_torn(self) -> None:
        """
        So are those before a torn one.
        """
        start, end = self.frames[4]
        self.assert_saved(self.data[: end - 1], "0123", f"{end - 1 - start} bytes at offset {start} can't be read.")

    def test_header(self) -> None:
        """
        A file whose header is damaged, its first bytes or the marker, is read
        all the same.
        """
        for offset in (0, 17, 25, 40, 63):
            data = bytearray(self.data)
            data[offset] ^= 0x55
            self.assert_saved(bytes(data), "01234")

    def assert_refuses_to_save(self, *words: str) -> None:
        """
        Hold that nothing is saved, for a reason that is one line with these
        words.
        """
        error = self.assertRaises(StoreError, salvage, str(self.path), str(self.target), self.lines.append)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))
        self.assertFalse(os.path.exists(f"{self.target}.new"))

    def test_refused(self) -> None:
        """
        A file that is no queue, or of a newer version, or in use, is refused;
        and so is a target that is there.
        """
        file = self.open()
        self.assert_refuses_to_save("in use by another server")
        file.close()
        self.target.write_bytes(b"mine")
        self.assert_refuses_to_save(str(self.target), "name another one")
        self.assertEqual(self.target.read_bytes(), b"mine")
        self.target.unlink()
        self.path.write_bytes(b"Dear diary, " * 100)
        self.assert_refuses_to_save("is not a queue of gearsvc's")
        self.path.write_bytes(with_crc(self.data[:16] + b"\2\0\0\0" + self.data[20:64]) + self.data[64:])
        self.assert_refuses_to_save("newer gearsvc")
        self.assertEqual(os.listdir(self.directory), ["queue.log"])

    def test_command(self) -> None:
        """
        The command that the server names when it refuses a file saves what can
        be read of it, says what, and ends with 0; or with 1 and one line.
        """
        start, end = self.frames[2]
        self.path.write_bytes(self.data[: end - 1] + b"\xff" + self.data[end:])
        error = self.assertRaises(StoreError, self.open)
        self.assertIn("python -m gearsvc.stores.salvage FILE NEWFILE", str(error))
        command = [sys.executable, "-m", "gearsvc.stores.salvage", str(self.path), str(self.target)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertEqual(
            ended.stdout, f"{end - start} bytes at offset {start} can't be read.\n8 jobs were saved to {self.target}.\n"
        )
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""))
        self.assertEqual(ended.stderr, f"gearsvc.stores.salvage: There is a file {self.target}; name another one.\n")
