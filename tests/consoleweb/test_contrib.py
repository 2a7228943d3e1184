"""
The board for Grafana and the rules for Prometheus in C{contrib}.
"""

from __future__ import annotations

import json
import re
import subprocess

from gearsvc.console.metrics import MetricsResource, Numbers, ReactorLag
from gearsvc.stores.memory import MemoryStore
from tests.consoleweb.web import WebCase
from tests.running import ROOT

BOARD = ROOT / "contrib" / "grafana-dashboard.json"
RULES = ROOT / "contrib" / "prometheus-alerts.yml"


class ContribTests(WebCase):
    """
    What people load into other programs.
    """

    async def names(self) -> set[str]:
        """
        Every name that a scrape of a server with a store may have, with the endings of counters and histograms.
        """
        await self.serve(MemoryStore())
        names = set()
        for family in Numbers(self.service, ReactorLag(self.reactor)).collect():
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
            names.update(family.name + ending for ending in endings.get(family.type, ("",)))
        return names

    async def test_metrics_of_the_board(self) -> None:
        """
        Every metric of the board exists, in an expression of Prometheus' that names the board's variables, and no two panels
        lie on each other.
        """
        board = json.loads(BOARD.read_text())
        names = await self.names()
        expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        self.assertGreater(len(expressions), 20)
        used = {name for expression in expressions for name in re.findall(r"gearman_\w+", expression)}
        self.assertEqual(used - names, set())
        variables = {variable["name"] for variable in board["templating"]["list"]}
        named = {name for expression in expressions for name in re.findall(r"\$(\w+)", expression)}
        self.assertEqual(named - variables, {"__rate_interval"})
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertEqual(taken & cells, set(), panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells

    async def test_metrics_of_the_rules(self) -> None:
        """
        Every metric of the rules exists.
        """
        expressions = re.findall(r"expr: (?:>-\n((?: {10}.*\n)+)|(.*))", RULES.read_text())
        self.assertGreater(len(expressions), 8)
        used = {name for folded, plain in expressions for name in re.findall(r"gearman_\w+", folded + plain)}
        self.assertEqual(used - await self.names(), set())

    def test_rules_are_valid(self) -> None:
        """
        promtool finds nothing wrong with the rules.
        """
        done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    async def test_scrape_is_valid(self) -> None:
        """
        promtool, which knows Prometheus' conventions, finds nothing wrong with what a scrape says.
        """
        await self.serve(MemoryStore())
        client = await self.connect()
        client.says("SUBMIT_JOB_BG f||x")
        await client.hears()
        await self.open(metrics=MetricsResource(self.service, ReactorLag(self.reactor)))
        _, _, body = await self.fetch("metrics")
        done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
