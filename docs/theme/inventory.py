"""
Where Twisted and Python describe the names of theirs that the modules of gearsvc use::

    python docs/theme/inventory.py DIRECTORY

writes C{twisted.inv} and C{python.inv}, as pydoctor wants to have them (Sphinx' inventories, version 2), so that a link to
a Deferred leads to Twisted's own pages.  Nothing is fetched for it: what is looked at are the imports, and the names that
docstrings give in full.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import sys
import zlib
from pathlib import Path
from types import ModuleType

from zope.interface import Interface

PACKAGE = Path(__file__).resolve().parents[2] / "gearsvc"

CLASSES = (type, type(Interface))


def names(module: Path) -> set[str]:
    """
    The names that a module imports from elsewhere or spells out.
    """
    text = module.read_text()
    # Those that a docstring spells out.
    found = set(re.findall(r"\btwisted(?:\.\w+)+", text))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported = {alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        else:
            continue
        for name, full_name in imported.items():
            # Of a module or a class, that which is taken from it.
            taken = re.findall(rf"\b{re.escape(name)}\.(\w+)", text)
            found.update([full_name, *(f"{full_name}.{each}" for each in taken)])
    return found


def lookup(name: str) -> object | None:
    """
    What has the name, or C{None}: a file of Twisted's plugins has no such name, say.
    """
    home, _, last = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ImportError:
        pass
    described = lookup(home) if home else None
    if isinstance(described, type(Interface)):
        return described.get(last)
    return getattr(described, last, None)


def twisted_page(name: str) -> str:
    """
    On which of Twisted's pages something is.
    """
    described = lookup(name)
    # A class is described where it is from, unless that is private.
    if isinstance(described, CLASSES) and "._" not in described.__module__:
        return f"{described.__module__}.{described.__name__}.html"
    if isinstance(described, (type, ModuleType)):
        return f"{name}.html"
    home, _, last = name.rpartition(".")
    return f"{twisted_page(home)}#{last}"


def python_page(name: str) -> str:
    """
    On which of Python's pages something is.
    """
    if "." not in name and hasattr(builtins, name):
        return f"library/exceptions.html#{name}"
    module = name
    while not isinstance(lookup(module), ModuleType):
        module = module.rpartition(".")[0]
    return f"library/{module}.html#{name if name != module else f'module-{name}'}"


def inventory(project: str, pages: dict[str, str]) -> bytes:
    """
    What pydoctor reads.

    @param pages: names, and their pages.
    """
    lines = "".join(f"{name} py:obj -1 {page} -\n" for name, page in sorted(pages.items()))
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: stable\n"
    return f"{head}# The remainder of this file is compressed using zlib.\n".encode() + zlib.compress(lines.encode())


def main(directory: Path) -> None:
    """
    Write both.
    """
    known = set[str]().union(*(names(module) for module in PACKAGE.rglob("*.py")))
    known.update(name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, BaseException))
    twisted, python = {}, {}
    for name in known:
        package = name.partition(".")[0]
        if package == "twisted" and lookup(name) is not None:
            twisted[name] = twisted_page(name)
        elif hasattr(builtins, name) or (package in sys.stdlib_module_names and lookup(name) is not None):
            python[name] = python_page(name)
    (directory / "twisted.inv").write_bytes(inventory("Twisted", twisted))
    (directory / "python.inv").write_bytes(inventory("Python", python))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
