"""
docs/writing-a-store.md is a package: it is built, installed beside gearsvc, and the server runs on its store.
"""

from __future__ import annotations

import atexit
import re
import shutil
import sys
import tempfile
import unittest
import zipfile
from functools import cache
from pathlib import Path

from tests.checkout import copy_checkout, make_environment, run
from tests.console import Console, read_steps
from tests.running import HOST, ROOT, RunningServer, free_port
from tests.test_packaging import WITHOUT_PYTHONPATH

PAGE = ROOT / "docs" / "writing-a-store.md"

FILE = re.compile(r"^`([\w./-]+)`\n\n```\w+\n((?s:.*?))^```$", re.MULTILINE)
"""
A file of the package: its path, and a block with all that is in it.
"""

MODULES = {
    "gearsvc/plugins/gearsvc_spool.py",
    "gearsvc_spool/__init__.py",
    "gearsvc_spool/store.py",
    "gearsvc_spool/test_store.py",
}


def write_package(to: Path) -> Path:
    """
    Write the files that the page shows, and nothing else.
    """
    for name, text in FILE.findall(PAGE.read_text()):
        path = to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return to


def pip(programs: Path, *words: str) -> None:
    """
    Run pip for a virtual environment.

    @param programs: its C{bin}.
    """
    run(sys.executable, "-m", "pip", "--quiet", "--python", str(programs / "python"), *words)


class Installation:
    """
    gearsvc and the package, installed in a virtual environment.

    @ivar directory: a temporary directory, with the package in C{gearsvc-spool}.
    @ivar programs: the environment's C{bin}.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-store-"))
        self.package = write_package(self.directory / "gearsvc-spool")
        self.checkout = copy_checkout(self.directory / "gearsvc")
        self.programs = make_environment(self.directory / "environment", [str(self.checkout), f"{self.package}[test]"])


@cache
def installation() -> Installation:
    """
    What the tests share.
    """
    made = Installation()
    atexit.register(shutil.rmtree, made.directory)
    return made


class PackageTests(unittest.TestCase):
    """
    The package, installed as users do it.
    """

    def setUp(self) -> None:
        """
        Make an empty directory to be in.
        """
        self.installation = installation()
        self.directory = Path(tempfile.mkdtemp(dir=self.installation.directory))

    def program(self, name: str, *words: str) -> str:
        """
        Run a program of the environment.

        @return: what it wrote.
        """
        return run(*WITHOUT_PYTHONPATH, str(self.installation.programs / name), *words, directory=self.directory)

    def test_wheel(self) -> None:
        """
        The wheel holds the four modules of the page, and no __init__.py that would be gearsvc's.
        """
        package = str(self.installation.package)
        pip(self.installation.programs, "wheel", "--no-deps", "--wheel-dir", str(self.directory), package)
        [path] = self.directory.glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            self.assertEqual({name for name in wheel.namelist() if ".dist-info/" not in name}, MODULES)

    def test_own_tests(self) -> None:
        """
        The tests of the installed package pass, the contract of all stores among them.
        """
        where = self.program("python", "-c", "import gearsvc, gearsvc_spool as spool; print(gearsvc, spool)")
        self.assertEqual(where.count("/site-packages/"), 2)
        output = self.program("trial", "gearsvc_spool")
        self.assertRegex(output, r"PASSED \(successes=\d\d\)\n$")
        self.assertIn("test_any_bytes", output)
        self.assertIn("test_united", output)

    def test_listed(self) -> None:
        """
        --help-stores lists it, with its option, among gearsvc's own.
        """
        for words in (["gearsvc", "serve"], ["twistd", "gearman"]):
            output = self.program(*words, "--help-stores")
            self.assertRegex(output, r"(?m)^--queue-type spool, in a directory")
            self.assertIn("--spool-directory=DIRECTORY", output)
            self.assertIn("--queue-type libsqlite3 ", output)

    def test_killed_server(self) -> None:
        """
        Jobs that were acknowledged by a server on the store are there after it was killed, in their order, and are run.
        """
        server = RunningServer("gearsvc", (), self.directory, free_port())
        twistd = str(self.installation.programs / "twistd")
        server.command = [*WITHOUT_PYTHONPATH, twistd, "-n", "--pidfile=", "gearman"]
        server.command += ["--port", f"tcp:{server.port}:interface={HOST}", "-q", "spool", "--spool-directory", "jobs"]
        gearman = ["gearman", "-h", HOST, "-p", str(server.port), "-f", "say"]
        server.start()
        try:
            for number in range(5):
                run(*gearman, "-b", f"job {number}")
            server.kill()
            server.start()
            self.assertEqual(server.status("say"), (5, 0, 0))
            script = "cat >> said; echo >> said"
            run(*gearman, "-w", "-c", "5", "--", "sh", "-c", script, directory=self.directory)
            self.assertEqual((self.directory / "said").read_text(), "".join(f"job {number}\n" for number in range(5)))
            self.assertEqual(server.stop(), 0, server.log)
            server.start()
            self.assertEqual(server.status("say"), (0, 0, 0))
        finally:
            if server.running:
                server.kill()

    def test_page(self) -> None:
        """
        What the page shows to try it goes as it is shown.
        """
        package = write_package(self.directory / "package")
        # The console wants one, and the page needs none.
        shutil.copy(ROOT / "twistd.conf", package)
        console = Console(package)
        self.addCleanup(console.close)
        programs = self.installation.programs
        commands = {name: f"{programs / name}" for name in ("gearsvc", "trial")}
        commands["pip"] = f"{sys.executable} -m pip --python {programs / 'python'}"
        for name, command in commands.items():
            path = package / ".console" / name
            path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            path.chmod(0o755)
        steps = list(read_steps(PAGE.read_text()))
        self.assertGreater(len(steps), 5)
        for step in steps:
            console.run(step)


class EditableTests(unittest.TestCase):
    """
    The package and gearsvc, installed in all ways in which a developer has them.
    """

    def test_ways(self) -> None:
        """
        The store is found whether gearsvc, the package, or both are editable; uninstalled, it is gone and leaves
        gearsvc whole.
        """
        directory = Path(tempfile.mkdtemp(prefix="gearsvc-store-"))
        self.addCleanup(shutil.rmtree, directory)
        checkout = copy_checkout(directory / "gearsvc")
        package = write_package(directory / "gearsvc-spool")
        # With setuptools there, it is not downloaded for each build.
        programs = make_environment(directory / "environment", [str(checkout), "setuptools"])
        quickly = ("install", "--no-deps", "--no-build-isolation")

        def stores() -> list[str]:
            output = run(*WITHOUT_PYTHONPATH, str(programs / "gearsvc"), "serve", "--help-stores", directory=directory)
            found = re.findall(r"(?m)^--queue-type (\w+)", output)
            self.assertIn("libsqlite3", found)
            return found

        def install(*words: str) -> None:
            pip(programs, *quickly, *words)
            self.assertIn("spool", stores(), words)

        self.assertNotIn("spool", stores())
        install(str(package))
        install("-e", str(checkout))
        install("-e", str(package))
        pip(programs, "uninstall", "-y", "gearsvc")
        install(str(checkout))
        pip(programs, "uninstall", "-y", "gearsvc-spool")
        self.assertNotIn("spool", stores())

        # The line that it takes.
        project = package / "pyproject.toml"
        line = 'package-dir = { "" = "." }\n'
        self.assertIn(line, project.read_text())
        project.write_text(project.read_text().replace(line, ""))
        pip(programs, *quickly, "-e", str(package))
        self.assertNotIn("spool", stores())
