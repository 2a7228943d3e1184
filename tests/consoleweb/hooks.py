"""
What schemathesis has to be told beyond the API's description; it reads this
module by C{SCHEMATHESIS_HOOKS}.
"""

from __future__ import annotations

from typing import Any

import schemathesis

SUBMIT = "/functions/{function}/jobs"
JOBS = "/jobs"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """
    No job that is submitted has a worker, so none is waited for.  Where a page
    of jobs begins can't be made up, only be repeated.
    """
    query = case.query if isinstance(case.query, dict) else {}
    if case.operation.path == JOBS and isinstance(query.get("after"), str) and len(query["after"]) <= 1000:
        del query["after"]
    if case.operation.path == SUBMIT and case.method == "POST":
        if query.get("background") in (False, "false"):
            query["background"] = "true"
        if isinstance(case.body, dict) and case.body.get("background") is False:
            case.body["background"] = True
        if isinstance(case.query, dict):
            case.query.setdefault("background", "true")
        else:
            case.query = {"background": "true"}


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """
    A unique id may have 64 bytes, and a schema can only tell of characters; no packet can hold a NUL.
    """
    if case.operation.path != SUBMIT:
        return True
    names = [str(case.path_parameters["function"])] if case.path_parameters else []
    for options in (case.query, case.body):
        if isinstance(options, dict):
            names.append(str(options.get("unique", "")))
    return not any("\0" in name or name.startswith("~") or len(name.encode("utf-8", "replace")) > 64 for name in names)
