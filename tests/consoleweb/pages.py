"""
The console's pages, as what is in them.

A page that can be read as XML has escaped everything: its elements are those
that the console made, and all else is text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, fromstring

from tests.consoleweb.case import Answer, ConsoleCase

ELEMENTS = frozenset(
    "a b body button caption code datalist dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 head header html i img "
    "input label legend li line link main meta nav ol option p path pre progress script section select small span strong "
    "summary svg table tbody td textarea th thead time title tr ul".split()
)
"""
All that a page is made of.
"""


def text_of(element: Element) -> str:
    """
    The text of an element and of all in it, with each space single, and one between what stands apart.
    """
    return " ".join("".join(_pieces(element)).split())


def _pieces(element: Element) -> Iterator[str]:
    apart = "" if element.tag in ("a", "b", "code", "i", "span", "time") else " "
    yield apart + (element.text or "")
    for child in element:
        yield from _pieces(child)
        yield child.tail or ""
    yield apart


def find(root: Element, key: str) -> Element:
    """
    The element with an id.

    @raise AssertionError: if there is none.
    """
    found = [each for each in root.iter() if each.get("id") == key]
    assert found, f"there is no {key!r}"
    return found[0]


def with_class(root: Element, name: str) -> list[Element]:
    """
    All elements of a class.
    """
    return [each for each in root.iter() if name in each.get("class", "").split()]


def tiles(root: Element) -> dict[str, str]:
    """
    The numbers at the top of a page, by their labels.
    """
    found = {}
    for tile in with_class(root, "tile"):
        (label,), (value,) = with_class(tile, "label"), with_class(tile, "value")
        found[text_of(label)] = text_of(value)
    return found


def facts(root: Element) -> dict[str, str]:
    """
    What a list of facts says, by their labels.
    """
    return {
        text_of(dt): text_of(dd) for pair in root.iter("div") for dt, dd in zip(pair.findall("dt"), pair.findall("dd"))
    }


def rows(root: Element, key: str) -> list[list[str]]:
    """
    The cells of a table's rows, as text.

    @param key: the id of the table, or of what is around it.
    """
    return [[text_of(cell) for cell in row] for body in find(root, key).iter("tbody") for row in body.findall("tr")]


def links(root: Element) -> list[str]:
    """
    Where one can go.
    """
    return [each.get("href", "") for each in root.iter("a")]


def forms(root: Element) -> dict[str, Element]:
    """
    The forms that change something, by what they do.
    """
    found = {}
    for form in root.iter("form"):
        for field in form.iter("input"):
            if field.get("name") == "action":
                found[field.get("value", "")] = form
    return found


class PageCase(ConsoleCase):
    """
    A test of pages.
    """

    async def page(self, path: str, status: int = 200, **headers: str) -> Element:
        """
        Ask for a page, and see that it is one.
        """
        return self.read(await self.ask("GET", path, headers={"Accept": "text/html", **headers}), status)

    def read(self, answer: Answer, status: int = 200) -> Element:
        """
        See that an answer is a page, and that it is as every page has to be.
        """
        self.assertEqual((answer.status, answer.headers.get("content-type")), (status, "text/html; charset=utf-8"), answer.body[:300])
        self.assertIn("default-src 'none'; script-src 'self'; style-src 'self';", answer.headers["content-security-policy"])
        self.assertEqual(answer.body[:16], b"<!DOCTYPE html>\n")
        root = fromstring(answer.body.decode())
        self.assert_well(root)
        return root

    def assert_well(self, root: Element) -> None:
        """
        A page holds no script and no style of its own, and nothing that only those can use who see it.
        """
        parents = {child: parent for parent in root.iter() for child in parent}
        ids = Counter(each.get("id") for each in root.iter() if each.get("id"))
        self.assertEqual([key for key, number in ids.items() if number > 1], [])
        labelled = {label.get("for") for label in root.iter("label")}
        self.assertEqual(labelled - {None} - set(ids), set())
        for each in root.iter():
            self.assertIn(each.tag, ELEMENTS)
            self.assertEqual([name for name in each.attrib if name == "style" or name.startswith("on")], [])
            for name in ("href", "src", "action"):
                if name in each.attrib:
                    self.assertRegex(each.attrib[name], r"\A(/(?!/)[!-~]*|#main)\Z")
            if each.tag == "script":
                self.assertRegex(each.get("src", ""), r"\A/static/console\.js\?v=[0-9a-f]{16}\Z")
                self.assertIsNone(each.text)
            if each.tag in ("input", "select", "textarea") and each.get("type") not in ("hidden", "submit"):
                around = list(self._around(parents, each))
                self.assertTrue(
                    each.get("id") in labelled or each.get("aria-label") or any(one.tag == "label" for one in around), each.attrib
                )
            if each.tag == "img":
                self.assertIn("alt", each.attrib)
            if each.tag == "svg":
                self.assertTrue(each.get("aria-label") or each.get("aria-hidden"))
            if each.tag == "a":
                self.assertTrue(text_of(each), each.attrib)
            if each.tag == "button":
                self.assertTrue(text_of(each) or each.get("aria-label"))
        self.assertEqual(len(list(root.iter("h1"))), 1)
        for table in root.iter("table"):
            self.assertEqual(len({len(row) for row in table.iter("tr")}), 1, text_of(table)[:200])

    @staticmethod
    def _around(parents: dict[Element, Element], element: Element) -> Iterator[Element]:
        while element in parents:
            element = parents[element]
            yield element

    async def send(self, path: str, headers: dict[str, str] | None = None, **fields: str | list[str]) -> Answer:
        """
        Send a form, as a browser does.
        """
        own = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin", **(headers or {})}
        body = urlencode(fields, doseq=True).encode()
        return await self.ask("POST", path, body, own, kind="application/x-www-form-urlencoded")

    async def done(self, path: str, headers: dict[str, str] | None = None, **fields: str | list[str]) -> Element:
        """
        Send a form that does what it says.

        @return: the page that tells of it.
        """
        answer = await self.send(path, headers, **fields)
        self.assertEqual((answer.status, answer.body), (303, b""), answer.body[:2000])
        self.assertRegex(answer.headers["location"], r"\A/(?!/)[!-~]*[?&]done=[A-Za-z0-9_-]+\Z")
        return await self.page(answer.headers["location"], **(headers or {}))

    def notice(self, root: Element) -> str:
        """
        What came of a change.
        """
        return text_of(find(root, "notices"))
