"""
gearsvc as it is installed: editable, from the wheel, from the sdist, and not at all.
"""

from __future__ import annotations

import atexit
import configparser
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from functools import cache
from pathlib import Path

import gearsvc
from tests.checkout import copy_checkout, make_environment, run
from tests.running import HOST, ROOT, RunningServer, free_port


WITHOUT_PYTHONPATH = ("env", "-u", "PYTHONPATH")
"""
Keeps the checkout that the tests run from out of the way.
"""


class Distributions:
    """
    The sdist and the wheel, built once for all tests.

    @ivar directory: a temporary directory, with the copy of the checkout that they were built from in C{checkout}.
    @ivar sdist: the sdist's path.
    @ivar wheel: the wheel's; it was made from the sdist, so what the sdist lacks, it lacks too.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="gearsvc-packaging-"))
        checkout = copy_checkout(self.directory / "checkout")
        # What twistd leaves beside the plugins in a checkout that is used.
        for plugins in ("twisted/plugins", "gearsvc/plugins"):
            (checkout / plugins / "dropin.cache").write_bytes(b"left by an earlier run")
        run(sys.executable, "-m", "build", str(checkout))
        [self.sdist] = (checkout / "dist").glob("*.tar.gz")
        [self.wheel] = (checkout / "dist").glob("*.whl")


@cache
def distributions() -> Distributions:
    """
    What the tests install.  (Trial knows no C{setUpModule}.)
    """
    built = Distributions()
    atexit.register(shutil.rmtree, built.directory)
    return built


def dependencies() -> list[str]:
    """
    What gearsvc needs to run, as setup.cfg says.
    """
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup["options"]["install_requires"].split("\n")[1:]


class ContentsTests(unittest.TestCase):
    """
    What is in the wheel and the sdist.
    """

    def test_wheel_holds_the_packages_and_nothing_else(self) -> None:
        """
        The wheel has every module of gearsvc, what the console's pages are shown with, its one plugin of Twisted's,
        its manual page, samples, and no more.
        """
        with zipfile.ZipFile(distributions().wheel) as wheel:
            names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        data = f"gearsvc-{gearsvc.__version__}.data/data/share/gearsvc/"
        shared = {"twistd.conf", *(path.name for path in (ROOT / "contrib").iterdir())}
        modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gearsvc").rglob("*.py")}
        shown_with = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gearsvc" / "console" / "static").iterdir()}
        self.assertEqual(
            names,
            modules
            | shown_with
            | {"gearsvc/py.typed", "twisted/plugins/gearsvc_plugin.py"}
            | {data + name for name in shared}
            | {f"gearsvc-{gearsvc.__version__}.data/data/share/man/man1/gearsvc.1"},
        )

    def test_sdist_holds_what_a_packager_needs(self) -> None:
        """
        The sdist has the tests, the documentation, the samples and the licence, and no caches.
        """
        with tarfile.open(distributions().sdist) as sdist:
            names = {name.partition("/")[2] for name in sdist.getnames()}
        checkout = distributions().directory / "checkout"
        expected = {
            path.relative_to(checkout).as_posix()
            for directory in ("benchmarks", "contrib", "docs", "examples", "gearsvc", "man", "scripts", "tests", "twisted")
            for path in (checkout / directory).rglob("*")
            if path.is_file() and path.name != "dropin.cache"
        }
        self.assertLessEqual(expected, names)
        expected = {"LICENSE", "README.md", "mkdocs.yml", "start", "test", "twistd.conf", "setup.cfg", "pyproject.toml"}
        self.assertLessEqual(expected, names)
        self.assertEqual([name for name in names if name.endswith(("dropin.cache", ".pyc"))], [])

    def test_nothing_shadows_twisted(self) -> None:
        """
        No __init__.py stands beside the plugin: it would hide all of Twisted, or the plugins of others.
        """
        with zipfile.ZipFile(distributions().wheel) as wheel:
            names = wheel.namelist()
        self.assertEqual([name for name in names if name.startswith("twisted/")], ["twisted/plugins/gearsvc_plugin.py"])
        self.assertEqual([str(path) for path in (ROOT / "twisted").rglob("__init__.py")], [])

    def test_all_is_all(self) -> None:
        """
        The extra "all" asks for what the extras of all optional parts ask for; those for the tests and the guide are none.
        """
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras = {name: set(value.split()) for name, value in setup["options.extras_require"].items()}
        together = extras.pop("all")
        del extras["test"], extras["docs"]
        self.assertEqual(together, set().union(*extras.values()))


class InstallationTests(unittest.TestCase):
    """
    An installation does what a user expects of it: each has a virtual environment of its own.
    """

    def setUp(self) -> None:
        """
        Make a directory for the environment, and a copy of the checkout that nothing was built in.
        """
        self.directory = Path(tempfile.mkdtemp(dir=distributions().directory))
        self.addCleanup(shutil.rmtree, self.directory)
        self.checkout = copy_checkout(self.directory / "checkout")

    def install(self, *requirements: str) -> Path:
        """
        Make the virtual environment.

        @return: its programs.
        """
        return make_environment(self.directory / "environment", requirements)

    def serve(self, *command: str, directory: Path) -> None:
        """
        Start the server, store a job, and end it.

        @param directory: where to start it.
        """
        server = RunningServer("gearsvc", (), directory, free_port())
        database = Path(tempfile.mkdtemp(dir=self.directory)) / "jobs.db"
        server.command = [*WITHOUT_PYTHONPATH, *command, "--port", f"tcp:{server.port}:interface={HOST}"]
        server.command += ["--queue-type", "libsqlite3", "--libsqlite3-db", str(database)]
        server.start()
        try:
            self.assertEqual(server.admin("version"), b"OK %s\n" % gearsvc.__version__.encode())
            run("gearman", "-h", HOST, "-p", str(server.port), "-b", "-f", "wc", "a job")
            self.assertEqual(server.status("wc"), (1, 0, 0))
        finally:
            self.assertEqual(server.stop(), 0, server.log)

    def check(self, programs: Path) -> None:
        """
        What holds of every installation.

        @param programs: its C{bin}.
        """
        home = self.directory / "home"
        home.mkdir()
        for program in ("twistd", "twist"):
            listing = run(*WITHOUT_PYTHONPATH, str(programs / program), "--help", directory=home)
            self.assertRegex(listing, r"(?m)^ +gearman +A Gearman job server")
        self.serve(str(programs / "twistd"), "-n", "--pidfile=", "gearman", directory=home)
        self.serve(str(programs / "gearsvc"), "serve", directory=home)
        version = run(*WITHOUT_PYTHONPATH, str(programs / "gearsvc"), "--version", directory=home)
        self.assertEqual(version, f"gearsvc {gearsvc.__version__}\n")
        show = "import importlib.metadata, twisted.web.server; print(importlib.metadata.version('gearsvc'))"
        version = run(*WITHOUT_PYTHONPATH, str(programs / "python"), "-c", show, directory=home)
        self.assertEqual(version, f"{gearsvc.__version__}\n")

    def test_editable(self) -> None:
        """
        gearsvc works from an editable install, for which the checkout itself must be on sys.path.
        """
        self.check(self.install("--editable", str(self.checkout)))

    def test_wheel(self) -> None:
        """
        gearsvc works from the wheel, without any extra, and brings the sample configuration and what is in contrib along.
        """
        programs = self.install(str(distributions().wheel))
        self.check(programs)
        shared = programs.parent / "share" / "gearsvc"
        self.assertEqual((shared / "twistd.conf").read_bytes(), (ROOT / "twistd.conf").read_bytes())
        for sample in (ROOT / "contrib").iterdir():
            self.assertEqual((shared / sample.name).read_bytes(), sample.read_bytes())
        self.check_missing_libraries(programs)
        self.check_protocols(programs)

    def check_missing_libraries(self, programs: Path) -> None:
        """
        Where an extra is not installed, a store that needs it is refused in one line that names it, and --help-stores says so.
        """
        told = run(*WITHOUT_PYTHONPATH, "COLUMNS=500", str(programs / "twistd"), "gearman", "--help-stores")
        for store, extra in (("postgres", "postgres"), ("redis", "redis"), ("mysql", "mysql"), ("drizzle", "mysql")):
            command = [*WITHOUT_PYTHONPATH, str(programs / "twistd"), "gearman", "-q", store, "--check-args"]
            done = subprocess.run(command, cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(
                done.stderr,
                f"twistd gearman: --queue-type {store} needs what is not installed; pip install 'gearsvc[{extra}]'\n",
            )
            self.assertRegex(told, rf"(?m)^--queue-type .*\b{store}\b.*; not usable yet: pip install 'gearsvc\[{extra}\]'$")
        self.assertRegex(told, r"(?m)^--queue-type libsqlite3\b.*a crash$")

    def check_protocols(self, programs: Path) -> None:
        """
        HTTP and C{gearsvc top} need no extra; the console does, and is refused in one line that names it.
        """
        command = [*WITHOUT_PYTHONPATH, str(programs / "twistd"), "-n", "--pidfile=", "gearman"]
        ports = [f"tcp:{free_port()}:interface={HOST}" for _ in range(2)]
        done = subprocess.run(
            [*command, "--port", ports[0], "-r", "console", "--console-port", "0"],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.assertEqual(
            (done.returncode, done.stderr),
            (1, "twistd gearman: --protocol console needs what is not installed; pip install 'gearsvc[console]'\n"),
        )
        server = RunningServer("gearsvc", (), self.directory, free_port())
        server.command = [*command, "--port", f"tcp:{server.port}:interface={HOST}", "-r", "http", "--http-port", ports[1]]
        server.start()
        try:
            number = ports[1].split(":")[1]
            run("curl", "-sSf", "-H", "X-Gearman-Background: true", "-d", "a job", f"http://{HOST}:{number}/wc")
            seen = run(*WITHOUT_PYTHONPATH, str(programs / "gearsvc"), "top", f"{HOST}:{server.port}", "--once", directory=self.directory)
            self.assertRegex(seen, r"(?m)^wc +no worker +1 +0 +0$")
        finally:
            self.assertEqual(server.stop(), 0, server.log)

    def test_sdist(self) -> None:
        """
        gearsvc works from the sdist.
        """
        self.check(self.install(str(distributions().sdist)))

    def test_nothing_installed(self) -> None:
        """
        In a checkout, with no more than Twisted installed, "python -m twisted gearman" runs the server.
        """
        programs = self.install(*dependencies())
        self.serve(str(programs / "python"), "-m", "twisted", "gearman", directory=self.checkout)
