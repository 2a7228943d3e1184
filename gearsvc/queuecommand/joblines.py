"""
Jobs as JSON lines: what C{gearsvc queue export} writes.

The first line says what the file is; then each job has a line::

    {"format": "gearsvc jobs", "version": 1}
    {"handle": "H:host:4", "function": "resize", "unique": "", "priority": "normal", "run_at": 0, "reducer": null,
     "attempts": 0, "submitted": 1764316800.25, "workload": "cat.png"}

Bytes that are no text are base64, under another name: C{"workload_base64"}.
Whoever writes such lines by hand needs no more than a function: what is left
out is as it is in a job that was just submitted.
"""

from __future__ import annotations

import difflib
import json
import re
from base64 import b64decode, b64encode
from typing import Any

from gearsvc.core.jobs import JobRecord, Priority

FORMAT = "gearsvc jobs"
VERSION = 1
HEADER = json.dumps({"format": FORMAT, "version": VERSION}).encode() + b"\n"

BASE64 = "_base64"
"""
What is added to a field's name when its value is base64.
"""

PRIORITIES = {priority.name.lower(): int(priority) for priority in Priority}
PRIORITY_NAMES = {number: name for name, number in PRIORITIES.items()}

LONGEST_HANDLE = 63
"""
Bytes: libgearman has room for no more.
"""

_NO_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
"""
Characters that many a program stumbles over: the control characters, except
those of tabs and lines, and others that some take for the end of a line.
"""

_HANDLE = re.compile(rb"[^\s\0]{0,%d}" % LONGEST_HANDLE)


class LineError(ValueError):
    """
    A line is no job.

    @ivar args: what is wrong with it.
    """


def text_of(data: bytes) -> str | None:
    """
    Bytes as a text, if they are one.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if _NO_TEXT.search(text) else text


def fields_of(record: JobRecord) -> dict[str, Any]:
    """
    A job as what JSON has, but for its workload.
    """
    values: dict[str, Any] = {}
    put(values, "handle", record.handle)
    put(values, "function", record.function)
    put(values, "unique", record.unique)
    values["priority"] = PRIORITY_NAMES.get(record.priority, "normal")
    values["run_at"] = record.run_at
    if record.reducer is None:
        values["reducer"] = None
    else:
        put(values, "reducer", record.reducer)
    values["attempts"] = record.attempts
    values["submitted"] = record.submitted
    return values


def put(values: dict[str, Any], name: str, data: bytes) -> None:
    """
    Add bytes to an object.
    """
    text = text_of(data)
    if text is not None:
        values[name] = text
    else:
        values[name + BASE64] = b64encode(data).decode()


def as_line(record: JobRecord) -> bytes:
    """
    A job as a line.
    """
    values = fields_of(record)
    put(values, "workload", record.workload)
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def from_line(line: bytes) -> JobRecord | None:
    """
    The job of a line.

    @return: the job; C{None} for a first line, or an empty one.
    @raise LineError: if it is something else.
    """
    if not line.strip():
        return None
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError:
        raise LineError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise LineError(f"it is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise LineError("it is not JSON that can be read") from None
    if not isinstance(values, dict):
        raise LineError("it is not a JSON object")
    if "format" in values:
        _check_header(values)
        return None
    return _record(values)


def _check_header(values: dict[str, Any]) -> None:
    if values["format"] != FORMAT:
        raise LineError(f"it says that this is no file of jobs: its format is not {FORMAT!r}")
    if values.get("version") != VERSION:
        raise LineError(f"the file is of version {values.get('version')!r}, and this gearsvc knows {VERSION}")


def _record(values: dict[str, Any]) -> JobRecord:
    function = _bytes(values, "function")
    if function is None:
        raise LineError("it has no 'function'")
    handle = _bytes(values, "handle") or b""
    if not _HANDLE.fullmatch(handle):
        raise LineError(f"'handle' must be at most {LONGEST_HANDLE} bytes without blanks")
    priority = values.pop("priority", "normal")
    if not isinstance(priority, str) or priority not in PRIORITIES:
        raise LineError(f"'priority' must be one of {', '.join(PRIORITIES)}")
    submitted = values.pop("submitted", 0.0)
    if isinstance(submitted, bool) or not isinstance(submitted, (int, float)) or not 0 <= submitted < 2**53:
        raise LineError("'submitted' must be a number of seconds, 0 or more")
    record = JobRecord(
        handle,
        function,
        _bytes(values, "unique") or b"",
        PRIORITIES[priority],
        _bytes(values, "workload") or b"",
        _whole_number(values, "run_at", 2**63 - 1),
        _bytes(values, "reducer"),
        _whole_number(values, "attempts", 2**31 - 1),
        float(submitted),
    )
    if values:
        name = next(iter(values))
        alike = difflib.get_close_matches(name, JobRecord.__slots__, 1)
        raise LineError(f"there is no field {name!r}" + (f"; is it {alike[0]!r}?" if alike else ""))
    return record


def _bytes(values: dict[str, Any], name: str) -> bytes | None:
    """
    Take bytes out of an object.
    """
    text, encoded = values.pop(name, None), values.pop(name + BASE64, None)
    if text is not None and encoded is not None:
        raise LineError(f"it has both {name!r} and {name + BASE64!r}")
    if encoded is not None:
        try:
            return b64decode(encoded, validate=True)
        except (TypeError, ValueError):
            raise LineError(f"{name + BASE64!r} must be base64") from None
    if text is None:
        return None
    if not isinstance(text, str):
        raise LineError(f"{name!r} must be a string")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise LineError(f"{name!r} holds half of a surrogate pair") from None


def _whole_number(values: dict[str, Any], name: str, limit: int) -> int:
    """
    Take a number out of an object.
    """
    value = values.pop(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise LineError(f"{name!r} must be a whole number from 0 to {limit}")
    return value
