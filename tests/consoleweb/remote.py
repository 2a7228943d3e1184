"""
The console of a server in a process of its own.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.running import HOST, PATIENCE, free_port


class RemoteConsole:
    """
    A console, and how to ask it.

    @ivar options: what makes a server have it.
    """

    def __init__(self) -> None:
        self._port = free_port()
        self.options = ["-r", "console", "--console-port", str(self._port)]

    def _fetch(self, method: str, path: str) -> str:
        request = urllib.request.Request(f"http://{HOST}:{self._port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
            return text

    def status(self, path: str) -> tuple[int, str]:
        """
        @return: the status of an answer, and its text.
        """
        try:
            return 200, self._fetch("GET", path)
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()

    def get(self, path: str) -> Any:
        """
        Ask for something of the API.
        """
        return json.loads(self._fetch("GET", f"/api/v1{path}"))

    def post(self, path: str) -> Any:
        """
        Do something by the API.
        """
        return json.loads(self._fetch("POST", f"/api/v1{path}"))

    def metrics(self) -> dict[tuple[str, ...], float]:
        """
        @return: the metrics of this moment, by name and labels' values.
        """
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self._fetch("GET", "/metrics"))
            for sample in family.samples
        }
