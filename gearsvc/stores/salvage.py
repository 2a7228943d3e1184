"""
Saves what can be read of a damaged queue file: C{python -m
gearsvc.stores.salvage FILE NEWFILE}.

The new file has the jobs of all batches that are whole.  What stood in the
others is lost: jobs that were added there, and that others were over; those run
again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from gearsvc.interfaces import StoreError
from gearsvc.stores.compaction import Rewriting
from gearsvc.stores.journal import FRAME, HEADER, Damage, Journal, good_header, is_whole
from gearsvc.stores.ownership import LockFile


def salvage(path: str, target: str, tell: Callable[[str], None]) -> None:
    """
    Write what can be read of a file to a new one.

    @param tell: takes a line for each piece that can't be read, and one for
        the outcome.
    @raise StoreError: if there is nothing to be read, or a server uses the
        file, or the new one is there already.
    @raise OSError: if the system refuses something.
    """
    place = os.path.realpath(path)
    if os.path.exists(target):
        raise StoreError(f"There is a file {target}; name another one.")
    lock = LockFile(place + ".lock", f"The queue file {path}")
    lock.take()
    try:
        journal = _open(place)
        try:
            rewriting = Rewriting(target + ".new", os.fstat(journal.descriptor))
            try:
                count = rewriting.take_live(journal.descriptor, whole_frames(journal, tell))
                rewriting.sync()
                rewriting.replace(target)
            except Damage as error:
                raise StoreError(f"The queue file {path} makes no sense at offset {error.offset}, and was written so.") from None
            finally:
                rewriting.discard()
        finally:
            journal.close()
    finally:
        lock.release()
    tell(f"{count} jobs were saved to {target}.")


def _open(path: str) -> Journal:
    """
    Open a file, though its header may be damaged: the first frame has the marker, too.
    """
    try:
        return Journal.open(path)
    except StoreError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # (A header that is whole is of another version.)
        head = os.pread(descriptor, FRAME.size, HEADER.size)
        if is_whole(os.pread(descriptor, HEADER.size, 0)) or good_header(head, head[:8]) is None:
            os.close(descriptor)
            raise
        return Journal(descriptor, head[:8], os.fstat(descriptor).st_size)


def whole_frames(journal: Journal, tell: Callable[[str], None]) -> Iterator[tuple[int, bytes]]:
    """
    Read the frames that can be read, wherever they are.

    @param tell: takes a line for each piece between them.
    """
    start: int | None = HEADER.size
    while start is not None:
        try:
            yield from journal.frames(start, moved=True)
            return
        except Damage as error:
            start = journal.find(error.offset + 1)
            end = journal.end if start is None else start
            tell(f"{end - error.offset} bytes at offset {error.offset} can't be read.")


def main(arguments: Sequence[str]) -> int:
    """
    The command.

    @return: its exit status.
    """
    parser = argparse.ArgumentParser("python -m gearsvc.stores.salvage", description="Save what can be read of a damaged queue file.")
    parser.add_argument("file", help="the damaged queue file; it is not changed")
    parser.add_argument("newfile", help="where what can be read of it goes")
    names = parser.parse_args(arguments)
    try:
        salvage(names.file, names.newfile, print)
    except (StoreError, OSError) as error:
        print(f"gearsvc.stores.salvage: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
