"""
What makes a run under pytest the same as one under trial.
"""

from __future__ import annotations

import contextlib
from tempfile import TemporaryDirectory
from typing import Iterator

import pytest
from twisted.trial.unittest import TestCase


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Run the asynchronous TestCases first.

    They run the reactor themselves, and once a test of pytest-twisted's own kind has run it they no longer can.
    """
    items.sort(key=lambda item: not (isinstance(item, pytest.Function) and item.cls and issubclass(item.cls, TestCase)))


@pytest.fixture(scope="session", autouse=True)
def _work_in_a_temporary_directory() -> Iterator[None]:
    """
    Trial has a directory for the files that tests leave behind; without one here, they would be left in the checkout.

    (pytest's own temporary directories have names that are too long for sockets.)
    """
    with TemporaryDirectory() as directory, contextlib.chdir(directory):
        yield
