"""
The user's guide is built from C{docs/} and from the docstrings, and what its pages show is so.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from twisted.trial.unittest import TestCase

from gearsvc.config import Settings
from gearsvc.service import JobServerService
from gearsvc.tap import Options
from tests.checkout import copy_checkout
from tests.console import Console, read_steps
from tests.consoleweb.browser import browser
from tests.running import HOST, PATIENCE, ROOT

DOCS = ROOT / "docs"

EXTERNAL_ELEMENTS = {"a", "form"}
"""
Elements that lead to another place only when somebody wants to go there.
"""


@cache
def build() -> tuple[Path, int, str]:
    """
    Build the guide, once for all tests.

    @return: where it is, the exit status, and what was written.
    """
    directory = Path(tempfile.mkdtemp(prefix="gearsvc-guide-"))
    atexit.register(shutil.rmtree, directory)
    done = subprocess.run(
        [str(ROOT / "scripts" / "build-guide"), str(directory)],
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return directory, done.returncode, done.stdout


class Page(HTMLParser):
    """
    What a page of HTML refers to, and the names that it has for links to it.

    @ivar loaded: addresses that a browser loads by itself.
    @ivar links: addresses to which somebody may go.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.links: set[str] = set()
        self.anchors: set[str] = {"", "top"}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        Note an element.
        """
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src", "action", "srcset", "data", "poster") and value:
                (self.links if tag in EXTERNAL_ELEMENTS else self.loaded).add(value)


@cache
def pages() -> dict[Path, Page]:
    """
    All pages of the guide.
    """
    return {path.resolve(): Page(path) for path in build()[0].rglob("*.html")}


def pages_in(nav: Any) -> list[str]:
    """
    The pages that a part of the navigation lists.
    """
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_in(part)]


class GuideTests(unittest.TestCase):
    """
    The guide as it is built.
    """

    def test_is_built_without_a_warning(self) -> None:
        """
        Neither mkdocs nor pydoctor finds anything wrong with pages, links and docstrings.
        """
        _, status, output = build()
        self.assertEqual(status, 0, output)
        # What mkdocs tells of its progress is all that there is.
        self.assertEqual([line for line in output.splitlines() if not line.startswith("INFO ")], [])

    def test_every_page_is_listed(self) -> None:
        """
        The navigation has every page of docs/, and each once.
        """
        listed = pages_in(yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.SafeLoader)["nav"])
        self.assertEqual(sorted(listed), sorted(path.name for path in DOCS.glob("*.md")), "see nav in mkdocs.yml")

    def test_links_lead_somewhere(self) -> None:
        """
        Every link within the guide leads to a file that is there, and to a place that it has.  (In the API, pydoctor also links
        to places of names that are hidden.)
        """
        site = build()[0].resolve()
        self.assertGreater(len(pages()), 100)
        wrong = []
        for path, page in pages().items():
            # It is shown for any address.
            if path.name == "404.html":
                continue
            for link in page.links | page.loaded:
                parts = urlsplit(link)
                if parts.scheme or parts.netloc:
                    continue
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                anchor = unquote(parts.fragment)
                known = path.parent == site / "api" or target not in pages() or anchor in pages()[target].anchors
                if not target.is_file() or not known:
                    wrong.append(f"{path.relative_to(site)}: {link}")
        self.assertEqual(wrong, [])

    def test_needs_no_network(self) -> None:
        """
        Nothing that a page or a style sheet loads is on another host.
        """
        loaded = {address for page in pages().values() for address in page.loaded}
        for sheet in build()[0].rglob("*.css"):
            loaded.update(re.findall(r"""url\(\s*["']?([^"')]+)""", sheet.read_text()))
            loaded.update(re.findall(r"""@import\s+["']([^"']+)""", sheet.read_text()))
        self.assertGreater(len(loaded), 10)
        self.assertEqual([each for each in loaded if urlsplit(each).scheme not in ("", "data") or each.startswith("//")], [])


class ReaderTests(TestCase):
    """
    The guide in a browser that has it from the disk.
    """

    timeout = 120

    async def test_is_read_and_searched(self) -> None:
        """
        Pages open without an error or a request that leaves the disk; the search leads to a section.
        """
        site, _, _ = build()

        def read(chromium: Any) -> tuple[list[str], list[str], str]:
            wrong: list[str] = []
            page = chromium.new_page()
            page.on("console", lambda message: wrong.append(message.text))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("requestfailed", lambda request: wrong.append(request.url))
            page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
            for name in ("index", "configuration", "source/twistd.conf", "api/gearsvc.service.JobServerService"):
                page.goto(f"{site.as_uri()}/{name}.html")
            page.goto(f"{site.as_uri()}/index.html")
            page.fill("#rtd-search-form [name=q]", "thousand clients")
            page.press("#rtd-search-form [name=q]", "Enter")
            page.wait_for_selector("#mkdocs-search-results a")
            found = page.locator("#mkdocs-search-results a").all_inner_texts()
            page.click("#mkdocs-search-results a >> nth=0")
            title = page.locator("h1").inner_text()
            page.close()
            return wrong, found, title

        wrong, found, title = await browser().ask(read)
        self.assertEqual(wrong, [])
        self.assertIn("A thousand clients, measured", found)
        self.assertEqual(title, "Coalescing")


class ProgramTests(unittest.TestCase):
    """
    The programs of the pages.
    """

    def test_coalescing_is_measured(self) -> None:
        """
        The command that the page names runs the worker once for all clients, or once for each, and says so as the page does.
        """
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / "coalescing.py"), "--clients", "40", "--milliseconds", "50"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?m)^one unique id +1 time  +0\.\d\d s +0\.\d\d s$")
        self.assertRegex(done.stdout, r"(?m)^none +40 times +1\.\d\d s +2\.\d\d s$")
        [shown] = re.findall(r"^```text\n((?s:.+?))^```$", (DOCS / "coalescing.md").read_text(), re.MULTILINE)
        forms = [re.sub(r"\d+|\btimes?\b", " ", each).split() for each in (shown, done.stdout)]
        self.assertEqual(*forms)

    def test_are_shown_as_they_are(self) -> None:
        """
        A page shows the programs that its commands run, whole and unchanged.
        """
        for page, directory in (("php", "php"), ("perl", "perl"), ("clients-and-workers", "client"), ("client", "client")):
            shown = re.findall(r"^```\w+\n((?s:.+?))^```$", (DOCS / f"{page}.md").read_text(), re.MULTILINE)
            run = set(re.findall(rf"\$ \w+ examples/{directory}/(\S+)", (DOCS / f"{page}.md").read_text()))
            self.assertGreater(len(run), 1)
            for name in run:
                self.assertIn((ROOT / "examples" / directory / name).read_text(), shown, f"{page}.md shows {name}")

    def test_composition_is_shown_as_it_is(self) -> None:
        """
        The page about composing shows all of examples/compose.tac.
        """
        self.assertIn("```python\n" + (ROOT / "examples" / "compose.tac").read_text() + "```\n", (DOCS / "composing.md").read_text())


class SettingsTests(unittest.TestCase):
    """
    The settings that the page about composing shows.
    """

    def test_are_those_of_the_command_line(self) -> None:
        """
        A service that is made as the page shows it has the settings that the same words on the command line give.
        """
        _, shown = re.findall(r"^```python\n((?s:.+?))^```$", (DOCS / "composing.md").read_text(), re.MULTILINE)
        service = eval(shown, {"JobServerService": JobServerService, "Settings": Settings})
        words = "--port tcp:4730:interface=127.0.0.1 -q libsqlite3 --libsqlite3-db queue.db -r console"
        options = Options()
        options.parseOptions(words.split())
        # The command line also has what was not given.
        given = {name: options.settings.plugin_options[name] for name in service.settings.plugin_options}
        self.assertEqual(service.settings, replace(options.settings, plugin_options=given))


class CommandTests(unittest.TestCase):
    """
    The commands of the pages, each page with a copy of the checkout of its own.
    """

    def play(self, page: str) -> None:
        """
        Run what a page shows, with its programs at ports that are free.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-page-"))
        self.addCleanup(shutil.rmtree, directory)
        checkout = copy_checkout(directory / "gearsvc")
        console = Console(checkout)
        self.addCleanup(console.close)
        twistd = Path(sys.executable).with_name("twistd")
        console.add_program("python", f'PYTHONPATH={checkout} exec {sys.executable} "$@"')
        console.add_program("twistd", f'PYTHONPATH={checkout} exec {sys.executable} {twistd} "$@"')
        # Where a server listens that is told no port, and where our commands look for it.
        console.environment["GEARMAND_PORT"] = str(console.ports[4730])
        servers = f"GEARMAN_SERVERS={HOST}:{console.ports[4730]}"
        console.add_program("gearsvc", f'{servers} PYTHONPATH={checkout} exec {sys.executable} -m gearsvc.cli "$@"')
        for program in (path for path in (checkout / "examples").rglob("*") if path.suffix in (".php", ".pl", ".py", ".tac")):
            program.write_text(re.sub(r"\b(4730|8080)\b", lambda match: str(console.ports[int(match[0])]), program.read_text()))
        steps = list(read_steps((DOCS / f"{page}.md").read_text()))
        self.assertGreater(len(steps), 3)
        for step in steps:
            console.run(step)

    def test_getting_started(self) -> None:
        """
        The first jobs are done, and one of them survives a crash.
        """
        self.play("getting-started")

    def test_clients_and_workers(self) -> None:
        """
        Four lines of Python get a result from a worker in Twisted.
        """
        self.play("clients-and-workers")

    def test_client(self) -> None:
        """
        The client hears results, progress, failures and exceptions, and gathers many jobs.
        """
        self.play("client")

    def test_php(self) -> None:
        """
        PHP's workers and clients do what the page shows.
        """
        self.play("php")

    def test_perl(self) -> None:
        """
        Perl's do.
        """
        self.play("perl")

    def test_coalescing(self) -> None:
        """
        Twenty clients with one unique id make a worker run once.
        """
        self.play("coalescing")

    def test_timeouts(self) -> None:
        """
        A job that is too slow is begun by three workers, a command that is too slow is ended, a lost worker's job waits again.
        """
        self.play("timeouts")

    def test_composing(self) -> None:
        """
        A job server and a web site run in one process.
        """
        self.play("composing")
