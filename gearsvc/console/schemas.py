"""
JSON Schema, as far as the console needs it: one schema checks what comes in and
stands in the API's description.
"""

from __future__ import annotations

import re
import types
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from gearsvc.console.values import Name

Schema = dict[str, Any]


class Invalid(Exception):
    """
    A value is not what its schema says.

    @ivar args: one sentence.
    """


def check(value: Any, schema: Schema, what: str) -> None:
    """
    See whether a value, as C{json.loads} made it, is what a schema says.

    @param what: what the value is called.
    @raise Invalid: if it is not.
    """
    kind = schema["type"]
    if not _IS[kind](value):
        raise Invalid(f"{what} has to be {_A[kind]}.")
    if "enum" in schema and value not in schema["enum"]:
        raise Invalid(f"{what} has to be one of: {', '.join(schema['enum'])}.")
    if kind == "string":
        if len(value) > schema.get("maxLength", len(value)):
            raise Invalid(f"{what} may have {schema['maxLength']:,} characters, and no more.")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            raise Invalid(f"{what} has to be like this: {schema['pattern']}")
    elif kind in ("integer", "number"):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high:
            between = f"from {low} to {high}" if "maximum" in schema else f"{low} or more"
            raise Invalid(f"{what} has to be {between}.")
    elif kind == "array":
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            raise Invalid(f"{what} has to hold from {schema.get('minItems', 0)} to {schema['maxItems']} items.")
        for each in value:
            check(each, schema["items"], f"Each item of {what}")
    elif kind == "object":
        known = schema["properties"]
        for name in schema.get("required", ()):
            if name not in value:
                raise Invalid(f"{name!r} is missing.")
        for name, part in value.items():
            if name not in known:
                raise Invalid(f"There is no {name[:100]!r} here; there is: {', '.join(known) or 'nothing'}.")
            check(part, known[name], repr(name))


def value_of(text: str, schema: Schema, what: str) -> Any:
    """
    The value that a text in a URL is.

    @raise Invalid: if it is not what the schema says.
    """
    kind = schema["type"]
    value: Any = text
    if kind == "integer":
        if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
            raise Invalid(f"{what} has to be a whole number.")
        value = int(text)
    elif kind == "number":
        if not re.fullmatch(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?", text, re.ASCII):
            raise Invalid(f"{what} has to be a number.")
        value = float(text)
    elif kind == "boolean":
        if text not in ("true", "false"):
            raise Invalid(f"{what} has to be 'true' or 'false'.")
        value = text == "true"
    check(value, schema, what)
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) or isinstance(value, float) and value.is_integer()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) != float("inf")


_IS: dict[str, Any] = {
    "string": lambda value: isinstance(value, str),
    "integer": _is_integer,
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}

_A = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    Name: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}


def schema_of(kind: Any, components: dict[str, Schema]) -> Schema:
    """
    The schema of what L{as_json <gearsvc.console.values.as_json>} makes of a
    value of some type.

    @param components: where the schemas of classes are, and are put.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], components)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1], components)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(each, components) for each in arguments]}
    assert is_dataclass(kind), kind
    assert isinstance(kind, type)
    if kind.__name__ not in components:
        # There before it is complete: it may hold itself.
        components[kind.__name__] = {}
        components[kind.__name__] = _schema_of_class(kind, components)
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _schema_of_class(kind: type, components: dict[str, Schema]) -> Schema:
    hints = get_type_hints(kind)
    properties: dict[str, Schema] = {}
    names = [each.name for each in fields(kind)]
    for name in names:
        properties[name] = schema_of(hints[name], components)
        if hints[name] is Name or Name in get_args(hints[name]):
            properties[name + "_base64"] = {
                "type": "string",
                "format": "byte",
                "description": f"The bytes of '{name}', if that is not UTF-8 that prints.",
            }
    return {
        "type": "object",
        "description": _first_sentence(kind),
        "properties": properties,
        "required": names,
        "additionalProperties": False,
    }


def _first_sentence(kind: type) -> str:
    text = " ".join((kind.__doc__ or "").split("@ivar")[0].split())
    return re.sub(r"[A-Z]\{([^<}]*?)(\s*<[^>]*>)?\}", r"\1", text)
