"""
The index in memcached, as the server that writes it knows it: which segments there are, and where each job's entry is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from gearsvc.core.jobs import JobRecord
from gearsvc.stores.memcachedindex import ALWAYS, Keys, Place, Segment, entry_line, index_text, ranges_text

SEGMENT_BYTES = 64 * 1024
"""
How large a segment may grow: memcached copies it each time something is appended.
"""

SPARE_LINES = 10_000
"""
How many lines of jobs that are over the index may hold, beside as many as there are jobs.
"""

REWRITTEN_SEGMENTS = 32
"""
How many segments are rewritten at once, to get rid of such lines.
"""


class Write:
    """
    A job to be stored, as it was when it was handed in.

    @ivar record: the job.
    @ivar key: its key.
    @ivar derived: whether L{Keys.of} gives its key.
    @ivar line: its entry.
    @ivar tail: what stores the item, behind the command's name.
    @ivar forced: whether an item that is there is to be replaced, though it is
        not known to be this job's.
    """

    __slots__ = ("record", "key", "derived", "line", "tail", "workload", "forced")

    def __init__(self, keys: Keys, record: JobRecord) -> None:
        self.record = record
        _, key = place_of(record)
        self.derived = key is None
        self.key = keys.of(record) if key is None else key
        self.line = entry_line(keys.prefix, record, self.key, self.derived)
        self.workload = record.workload
        self.tail = b" %b %d 0 %d\r\n" % (self.key, record.priority, len(record.workload))
        self.forced = False


def place_of(record: JobRecord) -> tuple[Segment | None, bytes | None]:
    """
    Where a job's entry is, as far as is known, and its key, if that is not the one which it would be given.
    """
    place = record.key
    if isinstance(place, Place):
        return place.segment, place.key
    return place if isinstance(place, Segment) else None, None


class Part(NamedTuple):
    """
    What a batch adds to one segment.

    @ivar segment: the segment.
    @ivar new: whether that begins with it.
    @ivar text: what is to be appended to it.
    @ivar share: of which jobs that is.
    """

    segment: Segment
    new: bool
    text: bytes
    share: list[Write]


class Segments:
    """
    The segments of one queue.

    @ivar by_number: all of them.
    @ivar current: the one that grows.
    @ivar batch: the number of the last batch.
    @ivar jobs: how many jobs there are.
    @ivar lines: how many entries there are, those of jobs that are over included.
    @ivar overgrown: one that is much too large.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.batch = ALWAYS
        self.begin(())

    def begin(self, segments: Sequence[Segment]) -> None:
        """
        Know these, and no others.
        """
        self.by_number = {segment.number: segment for segment in segments}
        # Their numbers, as the index has them, as long as those do not change.
        self._numbers: bytes | None = None
        self.current = max(segments, key=lambda segment: segment.number, default=None)
        self.jobs = sum(segment.live for segment in segments)
        self.lines = sum(segment.lines for segment in segments)
        self.overgrown: Segment | None = None

    def of(self, record: JobRecord) -> Segment | None:
        """
        The segment in which a job's entry is.
        """
        segment = place_of(record)[0]
        return segment if segment is not None and self.by_number.get(segment.number) is segment else None

    # Changing them.

    def plan(self, fresh: Sequence[Write], limit: int) -> list[Part]:
        """
        Begin a batch: find room for new entries.

        @param limit: how many bytes an item may have.
        """
        if not fresh:
            return []
        self.batch += 1
        header = b"=%d\n" % self.batch
        most = min(SEGMENT_BYTES, limit // 2)
        parts: list[Part] = []
        segment = self.current
        new = False
        lines: list[bytes] = [header]
        share: list[Write] = []
        for write in fresh:
            if segment is None or segment.size + len(write.line) > most:
                if segment is not None and share:
                    parts.append(Part(segment, new, b"".join(lines), share))
                    lines, share = [header], []
                segment = Segment(max(self.by_number, default=0) + 1)
                self.by_number[segment.number] = segment
                self._numbers = None
                new = True
            lines.append(write.line)
            share.append(write)
            segment.size += len(write.line)
        assert segment is not None
        parts.append(Part(segment, new, b"".join(lines), share))
        for part in parts:
            part.segment.size += len(header)
        self.current = segment
        return parts

    def count_in(self, parts: Iterable[Part]) -> None:
        """
        Entries are there.
        """
        for part in parts:
            segment, count = part.segment, len(part.share)
            segment.live += count
            segment.lines += count
            self.lines += count
            self.jobs += count
            for write in part.share:
                write.record.key = segment if write.derived else Place(segment, write.key)

    def changed(self, segment: Segment, updated: int, over: int, size: int) -> None:
        """
        Something was appended to a segment.

        @param updated: how many entries stand there once more.
        @param over: the jobs of how many are over.
        @param size: how many bytes that is.
        """
        if self.by_number.get(segment.number) is not segment:
            return
        segment.lines += updated
        self.lines += updated
        segment.live -= over
        self.jobs -= over
        segment.size += size
        if segment.size > 4 * SEGMENT_BYTES:
            self.overgrown = segment

    def drop(self, segment: Segment) -> None:
        """
        Remember a segment no longer.
        """
        if self.by_number.pop(segment.number, None) is not None:
            self._numbers = None
            self.lines -= segment.lines
            self.jobs -= segment.live
        if self.current is segment:
            self.current = None
        if self.overgrown is segment:
            self.overgrown = None

    # Keeping them small.

    @property
    def untidy(self) -> bool:
        """
        Whether they hold much that is over.
        """
        return self.lines - self.jobs > SPARE_LINES + self.jobs or self.overgrown is not None

    def worst(self) -> list[Segment]:
        """
        Those that are most worth rewriting.
        """
        worst = sorted(self.by_number.values(), key=lambda segment: segment.live - segment.lines)[:REWRITTEN_SEGMENTS]
        if self.overgrown is not None and self.overgrown not in worst:
            worst.append(self.overgrown)
        return worst

    def rewritten(self, segment: Segment, lines: int, size: int) -> None:
        """
        A segment holds nothing but so many entries, in so many bytes.
        """
        self.lines += lines - segment.lines
        segment.lines = lines
        segment.size = size
        segment.waiting = b""

    # What memcached is told.

    def add(self, part: Part) -> tuple[bytes, ...]:
        """
        The command that adds a part.
        """
        return self.set(part.segment, part.text) if part.new else self.append(part.segment, part.text)

    def append(self, segment: Segment, text: bytes) -> tuple[bytes, ...]:
        """
        The command that appends to a segment.
        """
        return b"append %b 0 0 %d\r\n" % (self._keys.segment(segment.number), len(text)), text, b"\r\n"

    def set(self, segment: Segment, text: bytes) -> tuple[bytes, ...]:
        """
        The command that writes a segment anew.
        """
        return b"set %b 0 0 %d\r\n" % (self._keys.segment(segment.number), len(text)), text, b"\r\n"

    def delete(self, segment: Segment) -> bytes:
        """
        The command that deletes a segment.
        """
        return b"delete %b\r\n" % self._keys.segment(segment.number)

    def set_index(self, jobs: int, without: Collection[Segment] = ()) -> tuple[bytes, ...]:
        """
        The command that makes a batch valid.

        @param jobs: how many jobs there are then.
        @param without: the segments that are not there any more.
        """
        if without:
            numbers = ranges_text(sorted(self.by_number.keys() - {segment.number for segment in without}))
        else:
            if self._numbers is None:
                self._numbers = ranges_text(sorted(self.by_number))
            numbers = self._numbers
        text = index_text(self.batch, jobs, numbers)
        return b"set %b 0 0 %d\r\n" % (self._keys.index, len(text)), text, b"\r\n"
