"""
The packets of the Gearman protocol, as one table.

A packet is a header of twelve bytes (a magic of four, the type and the size
of what follows, both 32 bits, big end first) and its arguments, separated by
NUL bytes.  The last argument of a packet without data runs to the packet's
end; a packet with data ends each argument with a NUL, and the rest is data.

Source: the PROTOCOL document of gearmand, and the behaviour of gearmand 1.1.20
and 2.0 where the document is silent.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

REQUEST = b"\0REQ"
"""The magic of what a client or a worker sends."""

RESPONSE = b"\0RES"
"""The magic of what the job server sends."""


class Type(IntEnum):
    """
    Packet types.  Two of the numbers are gearsvc's own and never on the wire:
    what L{gearsvc.core.wire.PacketDecoder} gives for a text line, and for a
    whole packet of the wrong direction.
    """

    TEXT = 0
    CAN_DO = 1
    CANT_DO = 2
    RESET_ABILITIES = 3
    PRE_SLEEP = 4
    NOOP = 6
    SUBMIT_JOB = 7
    JOB_CREATED = 8
    GRAB_JOB = 9
    NO_JOB = 10
    JOB_ASSIGN = 11
    WORK_STATUS = 12
    WORK_COMPLETE = 13
    WORK_FAIL = 14
    GET_STATUS = 15
    ECHO_REQ = 16
    ECHO_RES = 17
    SUBMIT_JOB_BG = 18
    ERROR = 19
    STATUS_RES = 20
    SUBMIT_JOB_HIGH = 21
    SET_CLIENT_ID = 22
    CAN_DO_TIMEOUT = 23
    ALL_YOURS = 24
    WORK_EXCEPTION = 25
    OPTION_REQ = 26
    OPTION_RES = 27
    WORK_DATA = 28
    WORK_WARNING = 29
    GRAB_JOB_UNIQ = 30
    JOB_ASSIGN_UNIQ = 31
    SUBMIT_JOB_HIGH_BG = 32
    SUBMIT_JOB_LOW = 33
    SUBMIT_JOB_LOW_BG = 34
    SUBMIT_JOB_SCHED = 35
    SUBMIT_JOB_EPOCH = 36
    SUBMIT_REDUCE_JOB = 37
    SUBMIT_REDUCE_JOB_BACKGROUND = 38
    GRAB_JOB_ALL = 39
    JOB_ASSIGN_ALL = 40
    GET_STATUS_UNIQUE = 41
    STATUS_RES_UNIQUE = 42
    WRONG_DIRECTION = 43


LAST_TYPE = Type.STATUS_RES_UNIQUE
"""The highest type that the wire knows."""


class Sender(IntEnum):
    """
    Who sends a packet.
    """

    CLIENT = 1
    WORKER = 2
    ANY = 3
    SERVER = 4
    WORKER_AND_SERVER = 5


class Layout(NamedTuple):
    """
    What a packet looks like.

    @ivar sender: who sends it.
    @ivar arguments: the names of its arguments, in order, without the data.
    @ivar data: whether data follows the arguments.
    """

    sender: Sender
    arguments: tuple[str, ...] = ()
    data: bool = False


_SUBMIT = Layout(Sender.CLIENT, ("function", "unique id"), True)
_WORK = Layout(Sender.WORKER_AND_SERVER, ("handle",), True)

LAYOUTS: dict[Type, Layout] = {
    Type.CAN_DO: Layout(Sender.WORKER, ("function",)),
    Type.CANT_DO: Layout(Sender.WORKER, ("function",)),
    Type.RESET_ABILITIES: Layout(Sender.WORKER),
    Type.PRE_SLEEP: Layout(Sender.WORKER),
    Type.NOOP: Layout(Sender.SERVER),
    Type.SUBMIT_JOB: _SUBMIT,
    Type.JOB_CREATED: Layout(Sender.SERVER, ("handle",)),
    Type.GRAB_JOB: Layout(Sender.WORKER),
    Type.NO_JOB: Layout(Sender.SERVER),
    Type.JOB_ASSIGN: Layout(Sender.SERVER, ("handle", "function"), True),
    Type.WORK_STATUS: Layout(Sender.WORKER_AND_SERVER, ("handle", "numerator", "denominator")),
    Type.WORK_COMPLETE: _WORK,
    Type.WORK_FAIL: Layout(Sender.WORKER_AND_SERVER, ("handle",)),
    Type.GET_STATUS: Layout(Sender.CLIENT, ("handle",)),
    Type.ECHO_REQ: Layout(Sender.ANY, (), True),
    Type.ECHO_RES: Layout(Sender.SERVER, (), True),
    Type.SUBMIT_JOB_BG: _SUBMIT,
    Type.ERROR: Layout(Sender.SERVER, ("code", "text")),
    Type.STATUS_RES: Layout(Sender.SERVER, ("handle", "known", "running", "numerator", "denominator")),
    Type.SUBMIT_JOB_HIGH: _SUBMIT,
    Type.SET_CLIENT_ID: Layout(Sender.WORKER, ("client id",)),
    Type.CAN_DO_TIMEOUT: Layout(Sender.WORKER, ("function", "timeout")),
    Type.ALL_YOURS: Layout(Sender.WORKER),
    Type.WORK_EXCEPTION: _WORK,
    Type.OPTION_REQ: Layout(Sender.ANY, ("option",)),
    Type.OPTION_RES: Layout(Sender.SERVER, ("option",)),
    Type.WORK_DATA: _WORK,
    Type.WORK_WARNING: _WORK,
    Type.GRAB_JOB_UNIQ: Layout(Sender.WORKER),
    Type.JOB_ASSIGN_UNIQ: Layout(Sender.SERVER, ("handle", "function", "unique id"), True),
    Type.SUBMIT_JOB_HIGH_BG: _SUBMIT,
    Type.SUBMIT_JOB_LOW: _SUBMIT,
    Type.SUBMIT_JOB_LOW_BG: _SUBMIT,
    Type.SUBMIT_JOB_SCHED: Layout(
        Sender.CLIENT, ("function", "unique id", "minute", "hour", "day of month", "month", "day of week"), True
    ),
    Type.SUBMIT_JOB_EPOCH: Layout(Sender.CLIENT, ("function", "unique id", "epoch"), True),
    Type.SUBMIT_REDUCE_JOB: Layout(Sender.CLIENT, ("function", "unique id", "reducer"), True),
    Type.SUBMIT_REDUCE_JOB_BACKGROUND: Layout(Sender.CLIENT, ("function", "unique id", "reducer"), True),
    Type.GRAB_JOB_ALL: Layout(Sender.WORKER),
    Type.JOB_ASSIGN_ALL: Layout(Sender.SERVER, ("handle", "function", "unique id", "reducer"), True),
    Type.GET_STATUS_UNIQUE: Layout(Sender.CLIENT, ("unique id",)),
    Type.STATUS_RES_UNIQUE: Layout(
        Sender.SERVER, ("unique id", "known", "running", "numerator", "denominator", "clients")
    ),
}
"""Every packet of the wire."""
