"""
The table of what the API can be asked for.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from gearsvc.console.actions import Cancelled, CancelledJobs, Draining, no_function, no_job
from gearsvc.console.problems import Problem
from gearsvc.console.routes import Body, Parameter, Route
from gearsvc.console.schemas import Schema
from gearsvc.console.search import MAX_LIMIT, JobQuery
from gearsvc.console.series import MOMENTS
from gearsvc.console.startedworkers import StartedWorkers, all_started, set_count
from gearsvc.console.submitting import Submitted
from gearsvc.console.values import (
    PRIORITIES,
    STATES,
    Connection,
    Connections,
    Function,
    Functions,
    Jobs,
    Moment,
    Overview,
    WholeJob,
    name_of_segment,
)
from gearsvc.core.jobserver import MAX_UNIQUE
from gearsvc.workerprocesses.wanted import MOST as MOST_STARTED

if TYPE_CHECKING:
    from gearsvc.console.site import Console

MAX_HANDLES = 1000
"""
How many jobs can be cancelled at once.
"""

MAX_WAIT = 3600.0
"""
Seconds for which the end of a job can be waited.
"""

MAX_TIME = 253_402_300_799
"""
The last second of the year 9999.
"""

_MOST = 2**31 - 1
_NAME_PATTERN = r"^(~([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2,3})?|[^~][\s\S]*)?$"
_BASE64_PATTERN = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

# What comes of what is done


@dataclass(frozen=True, slots=True)
class Explained:
    """
    Why a job is where it is.

    @ivar cause: one word.
    @ivar sentence: the same for a person.
    @ivar facts: what it rests on.
    """

    cause: str
    sentence: str
    facts: dict[str, str | int | float | list[str]]


# What is asked for


def _overview(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Overview]:
    return console.views.overview()


def _series(console: Console, arguments: dict[str, Any], body: Any) -> list[Moment]:
    return console.views.moments(arguments["moments"])


def _functions(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Functions]:
    return console.views.functions(arguments["limit"], arguments["after"], arguments["contains"])


def _function(console: Console, arguments: dict[str, Any], body: Any) -> Function:
    found = console.views.function(arguments["function"])
    if found is None:
        raise no_function(arguments["function"])
    return found


def _jobs(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Jobs]:
    query = JobQuery(
        function=arguments["function"],
        states=frozenset(arguments["state"]),
        unique=arguments["unique"],
        older=arguments["older"],
        younger=arguments["younger"],
        oldest_first=arguments["order"] == "oldest",
        limit=arguments["limit"],
        after=arguments["after"],
    )
    return console.views.jobs(query)


def _job(console: Console, arguments: dict[str, Any], body: Any) -> WholeJob:
    found = console.views.job(arguments["handle"])
    if found is None:
        raise no_job(arguments["handle"])
    return found


def _explain(console: Console, arguments: dict[str, Any], body: Any) -> Explained:
    found = console.views.explain(arguments["handle"])
    if found is None:
        raise no_job(arguments["handle"])
    return Explained(found.cause, found.sentence, found.facts)


def _workers(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Connections]:
    return console.views.workers(arguments["limit"], arguments["after"], arguments["function"])


def _clients(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Connections]:
    return console.views.clients(arguments["limit"], arguments["after"])


def _connection(console: Console, arguments: dict[str, Any], body: Any) -> Connection:
    found = console.views.connection(arguments["number"])
    if found is None:
        raise Problem(404, f"There is no connection {arguments['number']}; it may have ended.")
    return found


def _started_workers(console: Console, arguments: dict[str, Any], body: Any) -> list[StartedWorkers]:
    return all_started(console.service)


# What is done


def _count_workers(console: Console, arguments: dict[str, Any], body: Any) -> StartedWorkers:
    return set_count(console.service, arguments["functions"], int(body["count"]))


def _submit(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Submitted]:
    if isinstance(body, bytes):
        return console.actions.submit(workload=body, **arguments)
    function = arguments.pop("function")
    if "workload_base64" in body:
        try:
            workload = b64decode(body["workload_base64"], validate=True)
        except Base64Error:
            raise Problem(400, "'workload_base64' is no base64.") from None
    else:
        workload = _bytes_of(body.get("workload", ""), "workload")
    options = {name: body.get(name, value) for name, value in arguments.items()}
    if isinstance(options["unique"], str):
        options["unique"] = _bytes_of(options["unique"], "unique")
    options["run_at"] = int(options["run_at"])
    return console.actions.submit(function, workload, **options)


def _bytes_of(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Problem(400, f"{name!r} holds what no text may hold: half of a surrogate pair.") from None


def _cancel(console: Console, arguments: dict[str, Any], body: Any) -> Cancelled:
    console.actions.cancel(arguments["handle"])
    return Cancelled(1)


def _cancel_many(console: Console, arguments: dict[str, Any], body: Any) -> CancelledJobs:
    handles = []
    for text in body["handles"]:
        try:
            handles.append(name_of_segment(_bytes_of(text, "handles")))
        except ValueError as error:
            raise Problem(400, f"{text[:100]!r} is no handle: {error}.") from None
    return console.actions.cancel_many(handles)


def _pause(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Function]:
    return console.actions.pause(arguments["function"]).addCallback(lambda _: _function(console, arguments, body))


def _resume(console: Console, arguments: dict[str, Any], body: Any) -> Function:
    console.actions.resume(arguments["function"])
    return _function(console, arguments, body)


def _limit(console: Console, arguments: dict[str, Any], body: Any) -> Function:
    console.actions.limit(arguments["function"], *(int(body[name]) for name in PRIORITIES))
    return _function(console, arguments, body)


def _drain_function(console: Console, arguments: dict[str, Any], body: Any) -> Function:
    console.actions.drain_function(arguments["function"], body["draining"])
    return _function(console, arguments, body)


def _clear(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Cancelled]:
    return console.actions.clear(arguments["function"], body["confirm"])


def _drop(console: Console, arguments: dict[str, Any], body: Any) -> Deferred[Cancelled]:
    return console.actions.drop(arguments["function"], body["confirm"])


def _drain(console: Console, arguments: dict[str, Any], body: Any) -> Draining:
    return console.actions.drain()


# How it is asked for


def _name(name: str, description: str, **more: Any) -> Parameter:
    return Parameter(
        name,
        {"type": "string", "pattern": _NAME_PATTERN, **more},
        f"{description} Percent-encoded; or a tilde and its bytes in base64 (with - and _ for + and /), which what begins with a "
        "tilde, holds a slash or is no UTF-8 needs in many programs.",
        bytes=True,
    )


def _limit_of(most: int, default: int) -> Parameter:
    schema: Schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter("limit", schema, "How many to list.", default)


def _object(properties: dict[str, Schema], *required: str) -> Schema:
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": list(required)} if required else made


FUNCTION = _name("function", "The function's name.", minLength=1)
HANDLE = _name("handle", "The job's handle.", minLength=1)
_FUNCTION_FILTER = _name("function", "Only those of this function.")
_AFTER_NUMBER = Parameter(
    "after", {"type": "integer", "minimum": 0, "maximum": 2**53, "default": 0}, "The number that the page before ended with.", 0
)
_SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": MAX_TIME}
_CONFIRM: Schema = {"type": "string", "maxLength": 100_000, "description": "The function's name again, as its 'name' is."}

_SUBMIT: dict[str, tuple[Schema, str, Any]] = {
    "unique": (
        {"type": "string", "maxLength": MAX_UNIQUE},
        "The unique id, of at most 64 bytes: a job with the same one is joined. '-' joins by the workload.",
        "",
    ),
    "priority": ({"type": "string", "enum": list(PRIORITIES)}, "The priority.", "normal"),
    "background": ({"type": "boolean"}, "Whether to be answered as soon as the job is accepted, and not when it is done.", False),
    "run_at": (
        {"type": "integer", "minimum": 0, "maximum": MAX_TIME},
        "Not before this time, in Unix seconds; 0 is at once. Such a job is in the background.",
        0,
    ),
    "timeout": (
        {"type": "number", "minimum": 0.001, "maximum": MAX_WAIT},
        "How many seconds to wait for the job's end. A job that no worker has by then is gone.",
        30.0,
    ),
}
_SUBMIT_QUERY = tuple(
    replace(_name("unique", description), default=b"")
    if name == "unique"
    else Parameter(name, {**schema, "default": default}, description, default)
    for name, (schema, description, default) in _SUBMIT.items()
)
_SUBMIT_BODY = _object(
    {
        "workload": {"type": "string", "description": "The workload."},
        "workload_base64": {
            "type": "string",
            "format": "byte",
            "pattern": _BASE64_PATTERN,
            "description": "The workload in base64, in place of 'workload'.",
        },
        **{
            name: {**schema, "default": default, "description": description}
            for name, (schema, description, default) in _SUBMIT.items()
        },
    }
)

ROUTES: tuple[Route, ...] = (
    Route("GET", "/overview", "overview", _overview, Overview, "The server at a glance", "Server"),
    Route(
        "GET",
        "/series",
        "series",
        _series,
        list[Moment],
        "What happened from second to second, the oldest first",
        "Server",
        query=(
            Parameter(
                "moments",
                {"type": "integer", "minimum": 1, "maximum": MOMENTS, "default": MOMENTS},
                "How many, at most; the newest of them.",
                MOMENTS,
            ),
        ),
    ),
    Route(
        "POST",
        "/drain",
        "drain",
        _drain,
        Draining,
        "End the server when the running jobs are done",
        "Server",
        "It closes its ports, hands out no more jobs, and ends when none runs any more, or after --drain-seconds. "
        "Jobs in the background stay in the store, where there is one.",
        body=Body(_object({"confirm": {"type": "string", "enum": ["drain"]}}, "confirm")),
        status=202,
    ),
    Route(
        "GET",
        "/functions",
        "functions",
        _functions,
        Functions,
        "Functions, in the order of their names",
        "Functions",
        query=(
            _limit_of(MAX_LIMIT, 100),
            _name("after", "The name that the page before ended with: its 'following'."),
            Parameter(
                "contains",
                {"type": "string", "maxLength": 1000, "default": ""},
                "Only functions whose names hold this, in any case of letters.",
                "",
            ),
        ),
    ),
    Route(
        "GET", "/functions/{function}", "function", _function, Function, "One function", "Functions", in_path=(FUNCTION,), problems=(404,)
    ),
    Route(
        "POST",
        "/functions/{function}/pause",
        "pause",
        _pause,
        Function,
        "Hand out no more jobs of a function",
        "Functions",
        "Jobs are still accepted, and those that run go on. Answered when the store has it: it then outlives the server.",
        in_path=(FUNCTION,),
        problems=(404,),
    ),
    Route(
        "POST",
        "/functions/{function}/resume",
        "resume",
        _resume,
        Function,
        "Hand out the jobs of a function again",
        "Functions",
        in_path=(FUNCTION,),
        problems=(404,),
    ),
    Route(
        "PUT",
        "/functions/{function}/limits",
        "limit",
        _limit,
        Function,
        "Set how many jobs a function may have",
        "Functions",
        "While it has this many, a new job of the priority is refused; 0 is no limit.",
        in_path=(FUNCTION,),
        body=Body(
            _object({name: {"type": "integer", "minimum": 0, "maximum": _MOST} for name in PRIORITIES}, *PRIORITIES)
        ),
        problems=(404,),
    ),
    Route(
        "PUT",
        "/functions/{function}/draining",
        "drain_function",
        _drain_function,
        Function,
        "Take no new jobs of a function, or take them again",
        "Functions",
        "The jobs that it has go on being handed out.",
        in_path=(FUNCTION,),
        body=Body(_object({"draining": {"type": "boolean"}}, "draining")),
        problems=(404,),
    ),
    Route(
        "POST",
        "/functions/{function}/clear",
        "clear",
        _clear,
        Cancelled,
        "Cancel all jobs of a function that wait",
        "Functions",
        "Those that run go on.",
        in_path=(FUNCTION,),
        body=Body(_object({"confirm": _CONFIRM}, "confirm")),
        problems=(404, 409),
    ),
    Route(
        "POST",
        "/functions/{function}/drop",
        "drop",
        _drop,
        Cancelled,
        "Forget a function, and cancel its jobs",
        "Functions",
        "It must have no workers.",
        in_path=(FUNCTION,),
        body=Body(_object({"confirm": _CONFIRM}, "confirm")),
        problems=(404, 409),
    ),
    Route(
        "POST",
        "/functions/{function}/jobs",
        "submit",
        _submit,
        Submitted,
        "Submit a job",
        "Jobs",
        "The body is the workload (application/octet-stream), or an object that holds it. What else there is to say of the job "
        "stands in the query, or in that object; if in both, the object counts.",
        in_path=(FUNCTION,),
        query=_SUBMIT_QUERY,
        body=Body(_SUBMIT_BODY, raw=True),
        problems=(502, 504),
    ),
    Route(
        "GET",
        "/jobs",
        "jobs",
        _jobs,
        Jobs,
        "Look for jobs",
        "Jobs",
        "All that is asked for has to be true of a job. Without a state, those that live are listed; those that are over are "
        "remembered for a while.",
        query=(
            _FUNCTION_FILTER,
            Parameter("state", {"type": "string", "enum": list(STATES)}, "Where they are: any of these.", many=True),
            _name("unique", "Only those with this unique id."),
            Parameter("older", _SECONDS, "Submitted at least so many seconds ago; of those that are over: ended."),
            Parameter("younger", _SECONDS, "Submitted at most so many seconds ago; of those that are over: ended."),
            Parameter("order", {"type": "string", "enum": ["newest", "oldest"], "default": "newest"}, "Which come first.", "newest"),
            _limit_of(MAX_LIMIT, 100),
            Parameter("after", {"type": "string", "maxLength": 1000}, "What the page before gave as 'following'."),
        ),
    ),
    Route(
        "POST",
        "/jobs/cancel",
        "cancel_many",
        _cancel_many,
        CancelledJobs,
        "Cancel some jobs",
        "Jobs",
        body=Body(
            _object(
                {
                    "handles": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MAX_HANDLES,
                        "items": {"type": "string", "maxLength": 1000, "pattern": _NAME_PATTERN},
                    }
                },
                "handles",
            )
        ),
    ),
    Route("GET", "/jobs/{handle}", "job", _job, WholeJob, "One job", "Jobs", in_path=(HANDLE,), problems=(404,)),
    Route(
        "POST",
        "/jobs/{handle}/cancel",
        "cancel",
        _cancel,
        Cancelled,
        "Cancel a job",
        "Jobs",
        "Its clients are told that it failed. A worker that has it is not told, and what it sends is dropped.",
        in_path=(HANDLE,),
        problems=(404, 409),
    ),
    Route(
        "GET",
        "/jobs/{handle}/explain",
        "explain",
        _explain,
        Explained,
        "Why a job is not running",
        "Jobs",
        in_path=(HANDLE,),
        problems=(404,),
    ),
    Route(
        "GET",
        "/workers",
        "workers",
        _workers,
        Connections,
        "Connections that can do a function or have a job",
        "Connections",
        query=(_limit_of(MAX_LIMIT, 100), _AFTER_NUMBER, _FUNCTION_FILTER),
    ),
    Route(
        "GET",
        "/started-workers",
        "started_workers",
        _started_workers,
        list[StartedWorkers],
        "Workers that the server has started",
        "Connections",
        "Those of the option --worker, and those that an application has started.",
    ),
    Route(
        "PUT",
        "/started-workers/{functions}/count",
        "count_workers",
        _count_workers,
        StartedWorkers,
        "Have more or fewer of the workers that the server has started",
        "Connections",
        "Those that are too many finish their jobs before they go. After a restart there are as many as the option says.",
        in_path=(_name("functions", "Their functions, with commas between.", minLength=1),),
        body=Body(_object({"count": {"type": "integer", "minimum": 0, "maximum": MOST_STARTED}}, "count")),
        problems=(404,),
    ),
    Route(
        "GET",
        "/clients",
        "clients",
        _clients,
        Connections,
        "All other connections",
        "Connections",
        query=(_limit_of(MAX_LIMIT, 100), _AFTER_NUMBER),
    ),
    Route(
        "GET",
        "/connections/{number}",
        "connection",
        _connection,
        Connection,
        "One connection",
        "Connections",
        in_path=(Parameter("number", {"type": "integer", "minimum": 1, "maximum": 2**53}, "The connection's number."),),
        problems=(404,),
    ),
)
"""
All of it.
"""
