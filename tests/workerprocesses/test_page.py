"""
docs/started-workers.md: what it shows is done, with the programs that it shows.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from gearsvc.config import Settings, load_settings
from tests.checkout import run
from tests.running import HOST, ROOT, wait_until
from tests.workerprocesses.case import StartedCase

PAGE = (ROOT / "docs" / "started-workers.md").read_text()
HELLO, FIRST = PAGE.index("\n## Hello World"), PAGE.index("\n## First steps")


class PageTests(StartedCase):
    """
    The page, from top to bottom.
    """

    def check(self, part: str) -> None:
        """
        Write the files that a part of the page shows, start the server that it starts, and run its commands: each has to
        write what is shown.
        """
        workers = [word for line in re.findall(r"^twistd -n gearman (.*)$", part, re.MULTILINE) for word in shlex.split(line)]
        self.assertIn("--worker", workers)
        server = self.start(*(word for word in workers if word != "--worker"))
        for name, text in re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", part, re.MULTILINE | re.DOTALL):
            text = text.replace("addServer()", f'addServer("{HOST}", {server.port})').replace(":4730", f":{server.port}")
            (self.directory / name).write_text(text)
        shown = re.findall(r"^\$ (.*)\n((?:[^$`].*\n)*)", part, re.MULTILINE)
        self.assertGreater(len(shown), 0)
        for line, output in shown:
            words = shlex.split(line)
            if words[0] == "gearman":
                words[1:1] = ["-h", HOST, "-p", str(server.port)]
            self.assertEqual(run(*words, directory=self.directory).rstrip("\n"), output.rstrip("\n"), line)

    def test_first(self) -> None:
        """
        A command of the system is a function.
        """
        self.check(PAGE[: PAGE.index("\n## Three")])

    def test_talk(self) -> None:
        """
        The talk's PHP worker reverses, and so does a program without the extension.
        """
        self.check(PAGE[HELLO:FIRST])

    def test_blog(self) -> None:
        """
        The blog post's Perl worker adds one and one.  It prints its workload: that is in the log, and not in the result.
        """
        self.check(PAGE[FIRST : PAGE.index("\n## Who")])
        printed = re.compile(r"eval/1\[\d+\]: return 1 \+ 1\n")
        # (It comes by another way than the result, which may be faster.)
        wait_until(lambda: printed.search((self.directory / "server.log").read_text()) is not None, "its workload is in the log")

    def test_file(self) -> None:
        """
        The file that it shows is what twistd.conf may hold.
        """
        [text] = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        path = Path(self.directory / "shown.conf")
        path.write_text(text)
        settings: Settings = load_settings([], config_file=str(path))
        self.assertEqual([str(each) for each in settings.worker], [line.strip() for line in text.splitlines()[2:]])
