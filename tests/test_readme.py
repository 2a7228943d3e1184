"""
What the README and the pages in C{docs} say is so.

Their commands are run and their tables compared.  After a change of an option,
C{python -m tests.test_readme} writes the tables of docs/configuration.md anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from gearsvc.config import OPTIONS
from gearsvc.options import Option
from gearsvc.plugins import protocol_makers, queue_store_makers
from gearsvc.tap import CHECK_ARGS, CONFIG, plugin_heading
from tests.checkout import copy_checkout
from tests.console import Console, read_steps
from tests.running import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

CONFIGURATION = ROOT / "docs" / "configuration.md"

OPTIONS_BEGIN = "<!-- The tables are made by tests/test_readme.py. -->\n"
OPTIONS_END = "<!-- The end of the tables. -->\n"


def table(options: list[Option]) -> str:
    """
    Some options as a table of Markdown.
    """
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for option in options:
        value = f" {option.metavar}" if option.metavar else ""
        names = [f"-{option.short}"] if option.short else []
        names += [f"--{name}" for name in (option.name, *option.aliases)]
        if option.shown is not None:
            default = option.shown
        elif option.flag:
            default = "no"
        elif option.default in (None, (), ""):
            default = ""
        else:
            default = f"{option.default}"
        texts = [re.sub(r"(?<![\w.])(--[a-z][\w-]+)", r"`\1`", text.replace("<", "&lt;")) for text in (default, option.help)]
        lines.append(f"| {', '.join(f'`{name}{value}`' for name in names)} | {texts[0]} | {texts[1]} |")
    return "\n".join(lines) + "\n"


def option_tables() -> str:
    """
    All options, under headings, as Markdown.
    """
    groups: dict[str, list[Option]] = {"Start": [CONFIG, CHECK_ARGS]}
    for option in OPTIONS:
        groups.setdefault(option.group, []).append(option)
    for name, makers in (("queue-type", queue_store_makers()), ("protocol", protocol_makers())):
        for maker in makers:
            groups[plugin_heading(name, maker.names, maker.summary)] = list(maker.options)
    return "\n".join(f"### {heading}\n" + ("\n" + table(options) if options else "") for heading, options in groups.items())


def split_configuration() -> tuple[str, str, str]:
    """
    The page of all options: what comes before its tables, the tables, and what comes after them.
    """
    before, rest = CONFIGURATION.read_text().split(OPTIONS_BEGIN)
    tables, after = rest.split(OPTIONS_END)
    return before + OPTIONS_BEGIN, tables, OPTIONS_END + after


class PageTests(unittest.TestCase):
    """
    The text of the pages.
    """

    maxDiff = None

    def test_every_option_is_in_the_tables(self) -> None:
        """
        docs/configuration.md has every option with its names, default and meaning.
        """
        _, tables, _ = split_configuration()
        self.assertEqual(tables, "\n" + option_tables() + "\n", "run python -m tests.test_readme")

    def test_most_used_options(self) -> None:
        """
        The README's table of options has rows of that of all options, unchanged.
        """
        _, tables, _ = split_configuration()
        rows = re.findall(r"^\| `-.*\n", (ROOT / "README.md").read_text(), re.MULTILINE)
        self.assertGreater(len(rows), 5)
        for row in rows:
            self.assertIn(row, tables)

    def test_example_is_shown_as_it_is(self) -> None:
        """
        The Python that the README shows is the end of examples/compose.tac, which has a test of its own.
        """
        [shown] = re.findall(r"^```python\n((?s:.+?))^```$", (ROOT / "README.md").read_text(), re.MULTILINE)
        self.assertTrue((ROOT / "examples" / "compose.tac").read_text().endswith("\n" + shown))

    def test_links_lead_somewhere(self) -> None:
        """
        Whatever a page links to in the checkout is there.
        """
        for page in PAGES:
            for target in re.findall(r"\]\(([^):]+)\)", page.read_text()):
                self.assertTrue((page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}")


class CommandTests(unittest.TestCase):
    """
    The commands of the pages, each page with a copy of the checkout of its own.
    """

    def play(self, page: str) -> None:
        """
        Run what a page shows.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-page-"))
        self.addCleanup(shutil.rmtree, directory)
        console = Console(copy_checkout(directory / "gearsvc"))
        self.addCleanup(console.close)
        steps = list(read_steps((ROOT / page).read_text()))
        self.assertGreater(len(steps), 0)
        for step in steps:
            console.run(step)

    def test_readme(self) -> None:
        """
        The README's first command and its tour go as they are shown, from a checkout in which nothing was run.
        """
        self.play("README.md")

    def test_moving_from_gearmand(self) -> None:
        """
        A queue goes from gearmand to gearsvc and back as the page shows it.
        """
        self.play("docs/moving-from-gearmand.md")

    def test_moving_jobs(self) -> None:
        """
        Stored jobs are shown and moved as the page shows it.
        """
        self.play("docs/moving-jobs.md")


class SystemdTests(unittest.TestCase):
    """
    contrib/gearsvc.service.
    """

    def test_unit_is_valid(self) -> None:
        """
        systemd finds nothing wrong with the unit.
        """
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        program = "/opt/gearsvc/bin/gearsvc"
        unit = (ROOT / "contrib" / "gearsvc.service").read_text()
        self.assertIn(f"\nExecStart={program} serve", unit)
        (directory / "gearsvc.service").write_text(unit.replace(f"={program} ", "=/bin/true "))
        done = subprocess.run(
            ["systemd-analyze", "verify", str(directory / "gearsvc.service")], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    before, _, after = split_configuration()
    CONFIGURATION.write_text(before + "\n" + option_tables() + "\n" + after)
