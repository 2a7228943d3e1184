"""
The API's description in OpenAPI 3.1, made of the table of its routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gearsvc import __version__
from gearsvc.console.problems import title
from gearsvc.console.routes import Body, Parameter, Route
from gearsvc.console.schemas import Schema, schema_of

PROBLEM: Schema = {
    "type": "object",
    "description": "Why a request was not done (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence: what is wrong and, where that helps, what to do."},
    },
    "required": ["type", "title", "status", "detail"],
}

EVERYWHERE = (400, 401, 403, 421, 500, 503)
"""
The problems that there may be with every route.
"""

INTRODUCTION = """
Everything there is to see and to do at a gearsvc job server.

Names of functions, unique ids and handles are any bytes. In JSON they are text, in which what is no UTF-8 and what does not
print is escaped; where that text does not tell the bytes, they stand beside it in base64: `function` and `function_base64`.
In a URL, a name is percent-encoded, or a tilde and base64 (with `-` and `_`).

Times are in Unix seconds, lengths of time in seconds.
"""


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """
    The document.
    """
    components: dict[str, Schema] = {"Problem": PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "gearsvc", "version": __version__, "description": INTRODUCTION.strip()},
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of --console-token-file; without that, none is needed. Changes need an operator's.",
                }
            },
        },
    }


def _operation(route: Route, components: dict[str, Schema]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route, components),
    }
    if route.description:
        operation["description"] = route.description
    if route.in_path or route.query:
        operation["parameters"] = [
            *(_parameter(each, "path") for each in route.in_path),
            *(_parameter(each, "query") for each in route.query),
        ]
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    return operation


def _responses(route: Route, components: dict[str, Schema]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done." if route.method != "GET" else "Here it is."}
    if route.answer is not None:
        success["content"] = {"application/json": {"schema": schema_of(route.answer, components)}}
    problems = {*EVERYWHERE, *route.problems}
    if route.body is not None:
        problems |= {413, 415}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(route.status): success,
        **{str(status): {"description": title(status), "content": problem} for status in sorted(problems)},
    }


def _parameter(parameter: Parameter, where: str) -> dict[str, Any]:
    schema = {"type": "array", "items": parameter.schema} if parameter.many else parameter.schema
    return {
        "name": parameter.name,
        "in": where,
        "required": where == "path",
        "description": parameter.description,
        "schema": schema,
    }


def _content(body: Body) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": body.schema}}
    if body.raw:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return content
