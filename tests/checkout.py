"""
Copies of the checkout, for tests that install or start something in it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Sequence

from tests.running import ROOT

LEFT_OUT = shutil.ignore_patterns(
    ".*", "_trial_temp*", "__pycache__", "*.egg-info", "build", "dist", "node_modules", "dropin.cache", "*.db", "*.db-*"
)


def copy_checkout(to: Path) -> Path:
    """
    Copy the checkout, without what builds, runs and tests leave in it.

    @param to: a directory that is not there yet.
    """
    shutil.copytree(ROOT, to, ignore=LEFT_OUT)
    return to


def make_environment(to: Path, install: Sequence[str]) -> Path:
    """
    Make a virtual environment that shares nothing with the one that runs the tests.

    @param to: a directory that is not there yet.
    @param install: what pip is to install there.
    @return: the environment's programs.
    """
    run(sys.executable, "-m", "venv", "--without-pip", str(to))
    run(sys.executable, "-m", "pip", "--quiet", "--python", str(to / "bin" / "python"), "install", *install)
    return to / "bin"


def run(*command: str, directory: Path | None = None) -> str:
    """
    Run a program to its end.

    @return: what it wrote to its standard output.
    @raise AssertionError: if it fails; the message has all that it wrote.
    """
    done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
