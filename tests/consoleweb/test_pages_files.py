"""
L{gearsvc.console.files}: what pages are shown with, and that it is installed.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import gearsvc.console
from gearsvc.console.files import TYPES, StaticFiles
from tests.consoleweb.pages import PageCase

HERE = Path(gearsvc.console.__file__).parent / "static"


class FilesTests(PageCase):
    """
    C{/static/}
    """

    async def test_files(self) -> None:
        """
        Each file that a page names is there, as what it is, and may be kept for as long as its link is the same.
        """
        await self.open()
        page = await self.page("/")
        named = {each.get(name, "") for each in page.iter() for name in ("src", "href") if each.tag in ("link", "script", "img")}
        named.discard("")
        self.assertEqual({path.partition("?")[0] for path in named}, {f"/static/{name}" for name in TYPES})
        for path in named:
            answer = await self.ask("GET", path)
            name = path.partition("?")[0].rpartition("/")[2]
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, TYPES[name]))
            self.assertEqual(answer.headers["cache-control"], "public, max-age=31536000, immutable")
            self.assertEqual(answer.body, (HERE / name).read_bytes())

    async def test_kept(self) -> None:
        """
        A browser that has a file is told so; by another link, it has to ask.
        """
        await self.open()
        answer = await self.ask("GET", "/static/console.css?v=0")
        self.assertEqual(answer.headers["cache-control"], "no-cache")
        tag = answer.headers["etag"]
        again = await self.ask("GET", "/static/console.css", headers={"If-None-Match": tag})
        self.assertEqual((again.status, again.body), (304, b""))
        other = await self.ask("GET", "/static/console.css", headers={"If-None-Match": '"other"'})
        self.assertEqual((other.status, other.body), (200, answer.body))

    async def test_no_other(self) -> None:
        """
        No other file can be had.
        """
        await self.open()
        for path in ("/static/", "/static/../site.py", "/static/..%2fsite.py", "/static/%2e%2e/site.py", "/static/console.css/x", "/static//etc/passwd"):
            answer = await self.ask("GET", path)
            self.assertIn(answer.status, (200, 404), path)
            if answer.status == 200:
                self.assertEqual(answer.body, (HERE / "console.css").read_bytes(), path)

    async def test_before_login(self) -> None:
        """
        The login page has its looks before anybody has logged in.
        """
        path = self.directory() / "tokens"
        path.touch(0o600)
        path.write_text("viewer viewer-0123456789\n")
        await self.open(console_token_file=str(path))
        page = await self.page("/login")
        (sheet,) = [each.get("href", "") for each in page.iter("link") if each.get("rel") == "stylesheet"]
        self.assertEqual((await self.ask("GET", sheet)).status, 200)
        self.assertEqual(list(page.iter("script")), [])


class InstalledTests(SynchronousTestCase):
    """
    What goes into a package.
    """

    def test_all_are_there(self) -> None:
        """
        All files of the directory are served, and installed with the package that reads them; so are the pages.
        """
        self.assertEqual({path.name for path in HERE.iterdir()}, set(TYPES))
        settings = configparser.ConfigParser()
        settings.read(Path(gearsvc.console.__file__).parents[2] / "setup.cfg")
        patterns = settings["options.package_data"]["gearsvc.console"].split()
        for name in TYPES:
            self.assertTrue(any(Path("static", name).match(pattern) for pattern in patterns), name)
        self.assertIn("gearsvc.console.pages", settings["options"]["packages"].split())

    def test_nothing_from_elsewhere(self) -> None:
        """
        Neither the style sheet nor the script loads anything, nor does the script make markup of text.
        """
        for name in TYPES:
            text = (HERE / name).read_text()
            self.assertEqual(re.findall(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", text), [], name)
            self.assertEqual(re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), [], name)

    def test_links_differ(self) -> None:
        """
        The link of a file tells what is in it.
        """
        files = StaticFiles()
        links = {files.link(name) for name in TYPES}
        self.assertEqual(len({link.partition("=")[2] for link in links}), len(TYPES))
