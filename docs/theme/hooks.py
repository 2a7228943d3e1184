"""
What the guide needs beyond mkdocs and Markdown.

Pages are written to be read in the repository, too, and by the tests that run
what they show.  So here

  - a link to a file outside of C{docs/} leads to a page with that file, below C{source/};
  - a link to a module whose text is the module's name leads to what pydoctor made of it, in C{api/};
  - a block of commands that belongs to a terminal of its own, C{```console worker}, gets that terminal's name;
  - what the search looks through becomes a script, for a page that was opened from the disk may load nothing else.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

LINK = re.compile(r"\]\((?P<target>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")

MODULE = re.compile(r"\[`(gearsvc(?:\.\w+)*)`\]\(\.\./gearsvc/[\w/]+\.py\)")

TERMINAL = re.compile(r"^```console +(\w+)$", re.MULTILINE)

LANGUAGES = {
    ".c": "c", ".conf": "ini", ".json": "json", ".md": "markdown", ".php": "php", ".pl": "perl", ".py": "python",
    ".service": "ini", ".sh": "sh", ".tac": "python", ".yml": "yaml",
}
"""
How files are coloured, by what their names end with.
"""

FENCE = "~" * 12
"""
Stands around a file; no file has it.
"""


def source_page(path: str) -> str:
    """
    Where the page with a file or a directory of the repository is, seen from C{docs/}.
    """
    return f"source/{path.strip('/')}.md"


def is_text(path: Path) -> bool:
    """
    Whether a file can be shown.
    """
    try:
        path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return True


def files_in(directory: Path) -> list[str]:
    """
    The names of the files in a directory that can be shown.
    """
    return sorted(each.name for each in directory.iterdir() if not each.name.startswith(".") and is_text(each))


def show(root: Path, path: str) -> str:
    """
    A file or a directory as a page of Markdown.

    @param root: the repository.
    @param path: what is shown.
    """
    shown = root / path
    if shown.is_dir():
        return f"# {path}\n\n" + "".join(f"- [{name}]({shown.name}/{name}.md)\n" for name in files_in(shown))
    language = LANGUAGES.get(shown.suffix, "text")
    return f"# {path}\n\n{FENCE}{language}\n{shown.read_text().rstrip()}\n{FENCE}\n"


def on_files(files: Files, config: Any) -> Files:
    """
    Add the pages of files that are linked to; of a directory, each of its files.
    """
    root = Path(config.config_file_path).parent
    wanted: set[str] = set()
    for page in files.documentation_pages():
        for match in LINK.finditer(MODULE.sub("", page.content_string)):
            path = os.path.relpath(root / config.docs_dir / match["target"], root)
            # What is not there, or no text, keeps its link, and mkdocs says so.
            if (root / path).is_dir():
                wanted.update([path, *(f"{path}/{name}" for name in files_in(root / path))])
            elif path != "README.md" and is_text(root / path):
                wanted.add(path)
    for path in sorted(wanted):
        files.append(File.generated(config, source_page(path), content=show(root, path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """
    Let links lead to those pages, and name the terminals.
    """
    if page.file.src_uri.startswith("source/"):
        return markdown

    def lead(match: re.Match[str]) -> str:
        path = os.path.normpath(match["target"].removeprefix("../"))
        if path == "README.md":
            return f"](index.md{match['anchor'] or ''})"
        if files.get_file_from_path(source_page(path)) is None:
            return match[0]
        return f"]({source_page(path)})"

    markdown = MODULE.sub(r'<a href="api/\1.html"><code>\1</code></a>', markdown)
    return TERMINAL.sub(r'<p class="terminal">\1</p>' + "\n\n```console", LINK.sub(lead, markdown))


def on_post_build(config: Any) -> None:
    """
    Write down what the search looks through.
    """
    directory = Path(config.site_dir) / "search"
    index = json.loads((directory / "search_index.json").read_text())
    found = [each for each in index["docs"] if not each["location"].startswith("source/")]
    # A script's text may hold no end of a script's element.
    text = json.dumps(found).replace("</", "<\\/")
    (directory / "index.js").write_text(f"var guide = {text};\n")
