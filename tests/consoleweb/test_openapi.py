"""
The API's description, and that the API is what it says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args
from unittest import TestCase
from urllib.request import urlopen

from jsonschema_rs import validator_for  # schemathesis brings it along

from gearsvc.console import schemas
from gearsvc.console.openapi import EVERYWHERE, describe
from gearsvc.console.operations import ROUTES
from gearsvc.console.schemas import Invalid, check, schema_of, value_of
from gearsvc.console.values import Name
from tests.consoleweb.case import ConsoleCase
from tests.running import HOST, ROOT, free_port, start_server, wait_until

EXAMPLES = int(os.environ.get("GEARSVC_TEST_EXAMPLES", "15"))
"""
How many requests schemathesis makes up for each route, in each of its phases.
"""


def at(document: Any, reference: str) -> Any:
    """
    What a reference within a document refers to.
    """
    assert reference.startswith("#/"), reference
    for part in reference[2:].split("/"):
        document = document[part]
    return document


class DocumentTests(TestCase):
    """
    The description.
    """

    def setUp(self) -> None:
        """
        Make it.
        """
        self.document = json.loads(json.dumps(describe(ROUTES)))

    def test_routes(self) -> None:
        """
        Every route is in it once, by a name of its own, with all of its parameters.
        """
        described = {
            (method.upper(), path): operation for path, methods in self.document["paths"].items() for method, operation in methods.items()
        }
        self.assertEqual(set(described), {(route.method, route.path) for route in ROUTES})
        self.assertEqual(len({operation["operationId"] for operation in described.values()}), len(ROUTES))
        for route in ROUTES:
            parameters = described[route.method, route.path].get("parameters", [])
            in_path = {part[1:-1] for part in route.parts if part.startswith("{")}
            self.assertEqual({each["name"] for each in parameters if each["in"] == "path"}, in_path)
            self.assertEqual({each["name"] for each in parameters if each["in"] == "query"}, {each.name for each in route.query})

    def test_defaults(self) -> None:
        """
        The default that is told is the one that counts.
        """
        for route in ROUTES:
            for parameter in route.query:
                if "default" in parameter.schema:
                    self.assertEqual(parameter.schema["default"], parameter.default, parameter.name)
                    check(parameter.default, parameter.schema, parameter.name)

    def test_references(self) -> None:
        """
        Whatever it refers to is there, and all that is there is referred to.
        """
        found: set[str] = set()

        def walk(part: Any) -> None:
            if isinstance(part, dict):
                if "$ref" in part:
                    at(self.document, part["$ref"])
                    found.add(part["$ref"].rpartition("/")[2])
                for each in part.values():
                    walk(each)
            elif isinstance(part, list):
                for each in part:
                    walk(each)

        walk(self.document)
        self.assertEqual(found, set(self.document["components"]["schemas"]))

    def test_problems(self) -> None:
        """
        Every route tells of the problems that there may be.
        """
        for methods in self.document["paths"].values():
            for operation in methods.values():
                self.assertLessEqual({str(status) for status in EVERYWHERE}, set(operation["responses"]))

    def test_described(self) -> None:
        """
        Every kind of answer says in a sentence what it is, without markup.
        """
        for name, schema in self.document["components"]["schemas"].items():
            self.assertTrue(schema["description"].endswith("."), name)
            self.assertNotRegex(schema["description"], r"[A-Z]\{")

    def test_names(self) -> None:
        """
        Beside each name that a peer chose may stand its bytes.
        """
        job = self.document["components"]["schemas"]["Job"]
        for name in ("handle", "function", "unique"):
            self.assertIn(f"{name}_base64", job["properties"])
            self.assertNotIn(f"{name}_base64", job["required"])


class SchemaTests(TestCase):
    """
    What a schema lets pass.
    """

    def test_as_others(self) -> None:
        """
        A value passes exactly if it does with a validator of JSON Schema.
        """
        values: list[Any] = [
            None, True, False, 0, 1, -1, 1.0, 1.5, 5, 6, 2**70, "", "a", "abcdef", "ä" * 5, "é", [], ["a"], ["a"] * 3, [1], {}, {"a": 1},
            {"a": "x"}, {"b": 1}, {"a": 5, "b": "x"}, {"a": 5, "c": 1}, {"a": 1.0},
        ]
        for schema in (
            {"type": "string"},
            {"type": "string", "maxLength": 5},
            {"type": "string", "enum": ["a", ""]},
            {"type": "string", "pattern": "^a"},
            {"type": "integer"},
            {"type": "integer", "minimum": 1, "maximum": 5},
            {"type": "number", "minimum": 1},
            {"type": "boolean"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
            {"type": "object", "properties": {}, "additionalProperties": False},
            {
                "type": "object",
                "properties": {"a": {"type": "integer", "maximum": 5}, "b": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            },
        ):
            validator = validator_for(schema)
            for value in values:
                try:
                    check(value, schema, "it")
                    passes = True
                except Invalid as invalid:
                    passes = False
                    self.assertTrue(str(invalid).endswith(".") or "like this" in str(invalid), invalid)
                self.assertEqual(passes, validator.is_valid(value), (schema, value))

    def test_texts(self) -> None:
        """
        What stands in a URL becomes the value that it is.
        """
        for text, schema, value in (
            ("12", {"type": "integer"}, 12),
            ("-1", {"type": "integer"}, -1),
            ("1.5e1", {"type": "number"}, 15.0),
            ("true", {"type": "boolean"}, True),
            ("false", {"type": "boolean"}, False),
            ("true", {"type": "string"}, "true"),
        ):
            self.assertEqual(value_of(text, schema, "it"), value)

    def test_types(self) -> None:
        """
        A schema is made of every type that an answer holds, and of no other.
        """
        components: dict[str, Any] = {}
        self.assertEqual(
            schema_of(dict[str, list[Name | None]], components),
            {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            },
        )
        with self.assertRaises(AssertionError):
            schema_of(bytes, components)
        for route in ROUTES:
            answer = get_args(route.answer)[0] if get_args(route.answer) else route.answer
            self.assertTrue(is_dataclass(answer), route.name)
        self.assertEqual(set(schemas._IS), set(schemas._A))


class AnswerTests(ConsoleCase):
    """
    Answers, against their description.
    """

    async def test_schemas(self) -> None:
        """
        With jobs in every state and names of every kind, every answer is as described.
        """
        await self.open()
        document = (await self.get("/openapi.json")).json
        worker = await self.worker("f")
        worker.says("SET_CLIENT_ID \xff<b>")
        handles = [await self.submit(b"f", b"u\xff"), await self.submit(b"\xff"), await self.submit(b"f")]
        worker.says("GRAB_JOB")
        await worker.hears()
        worker.says(f"WORK_STATUS {handles[0]}|1|2")
        await worker.echoes()
        await self.post(f"/jobs/{handles[2]}/cancel")
        await self.post("/functions/f/jobs", {"run_at": 4_000_000_000})
        await self.until(lambda: bool(self.console.views.moments()))
        for path, template in (
            ("/overview", None),
            ("/series", None),
            ("/functions", None),
            ("/functions/%FF", "/functions/{function}"),
            ("/jobs", None),
            ("/jobs?state=cancelled", "/jobs"),
            (f"/jobs/{handles[0]}", "/jobs/{handle}"),
            (f"/jobs/{handles[2]}", "/jobs/{handle}"),
            (f"/jobs/{handles[0]}/explain", "/jobs/{handle}/explain"),
            ("/workers", None),
            ("/clients", None),
        ):
            answer = await self.get(path)
            self.assertEqual(answer.status, 200, answer.body)
            schema = document["paths"][template or path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            validator = validator_for({**schema, "components": document["components"]})
            self.assertEqual([str(error) for error in validator.iter_errors(answer.json)], [], path)
        problem = (await self.get("/jobs?limit=0")).json
        self.assertTrue(validator_for(document["components"]["schemas"]["Problem"]).is_valid(problem))


class SchemathesisTests(TestCase):
    """
    schemathesis, against a server of its own.
    """

    def test_schemathesis(self) -> None:
        """
        It makes up requests that fit the description and some that do not, alone and one after the other, and finds nothing.
        """
        directory = Path(self.enterContext(TemporaryDirectory()))
        port = free_port()
        server = start_server("-r", "console", "--console-port", str(port), directory=directory)
        self.addCleanup(server.stop)
        wait_until(lambda: _answers(port), "the console answers")
        server.admin("create function f")
        url = f"http://{HOST}:{port}/api/v1/openapi.json"
        # (The server is to be there at the end.)
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run", url, "--exclude-operation-id", "drain"),
                *("--checks", "all", "--seed", "4730", "--max-examples", str(EXAMPLES), "--no-color"),
            ],
            cwd=directory,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.consoleweb.hooks", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        output = "\n".join(line[:500] for line in done.stdout.splitlines())
        self.assertEqual(done.returncode, 0, output + done.stderr)
        self.assertIn(f"Selected: {len(ROUTES) - 1}/{len(ROUTES)}", output)
        self.assertIn("passed", output)
        self.assertTrue(_answers(port))


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://{HOST}:{port}/healthz") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
