"""
Where Twisted describes the names that the modules of gearsvc use::

    python docs/theme/inventory.py twisted.inv

writes that down as pydoctor wants to have it (Sphinx' inventory, version 2), so that a link to a Deferred leads to
Twisted's own pages.  Nothing is fetched for it: what is looked at are the imports, and the names that docstrings give in
full.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import zlib
from pathlib import Path
from types import ModuleType

from zope.interface import Interface

PACKAGE = Path(__file__).resolve().parents[2] / "gearsvc"

FULL_NAME = re.compile(r"\btwisted(?:\.\w+)+")


def names(module: Path) -> set[str]:
    """
    The names of Twisted's that a module imports or spells out.
    """
    text = module.read_text()
    found = set(FULL_NAME.findall(text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "twisted":
            for alias in node.names:
                found.add(f"{node.module}.{alias.name}")
                # Of a module, that which is taken from it.
                taken = re.findall(rf"\b{alias.name}\.(\w+)", text)
                found.update(f"{node.module}.{alias.name}.{name}" for name in taken)
    return found


def lookup(name: str) -> object | None:
    """
    What has the name, or C{None}: a file of Twisted's plugins has no such name, say.
    """
    home, _, last = name.rpartition(".")
    try:
        return getattr(importlib.import_module(home), last, None) or importlib.import_module(name)
    except ImportError:
        return None


def page(name: str, described: object) -> str:
    """
    On which of Twisted's pages it is.
    """
    # A class is described where it is from, unless that is private.
    if isinstance(described, (type, type(Interface))) and "._" not in described.__module__:
        return f"{described.__module__}.{described.__name__}.html"
    if isinstance(described, (type, ModuleType)):
        return f"{name}.html"
    home, _, last = name.rpartition(".")
    return f"{home}.html#{last}"


def inventory() -> bytes:
    """
    All of them.
    """
    known = sorted(set[str]().union(*(names(module) for module in PACKAGE.rglob("*.py"))))
    found = [(name, described) for name in known if (described := lookup(name)) is not None]
    lines = "".join(f"{name} py:obj -1 {page(name, described)} -\n" for name, described in found)
    head = "# Sphinx inventory version 2\n# Project: Twisted\n# Version: stable\n# The remainder of this file is compressed using zlib.\n"
    return head.encode() + zlib.compress(lines.encode())


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(inventory())
