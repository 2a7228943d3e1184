"""
The files that pages are shown with: a style sheet, a script and an icon.

They are read once.  Their links hold a part of their hash, so that a browser
keeps them for as long as they are the same, and not longer.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

from twisted.web.http import CACHED
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from gearsvc.console.problems import Problem, ProblemResource, write_problem

TYPES = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""
All of them, and what they are.
"""

NO_FILE = Problem(404, "There is no such file.")

YEAR = 365 * 24 * 3600


class StaticFile(Resource):
    """
    One file.

    @ivar tag: tells what is in it.
    """

    isLeaf = True

    def __init__(self, kind: str, content: bytes) -> None:
        super().__init__()
        self._kind = kind
        self._content = content
        self.tag = sha256(content).hexdigest()[:16]

    def render_GET(self, request: Request) -> bytes:
        """
        Send it, if the browser has not got it.
        """
        named = request.uri.partition(b"?")[2] == b"v=" + self.tag.encode()
        request.setHeader("Cache-Control", f"public, max-age={YEAR}, immutable" if named else "no-cache")
        request.setHeader("Content-Type", self._kind)
        return b"" if request.setETag(self.tag_header) is CACHED else self._content

    @property
    def tag_header(self) -> bytes:
        """
        The tag as headers have it.
        """
        return b'"%b"' % self.tag.encode()


class StaticFiles(Resource):
    """
    C{/static/}: all files.
    """

    def __init__(self) -> None:
        super().__init__()
        here = files("gearsvc.console") / "static"
        self._files = {name: StaticFile(kind, (here / name).read_bytes()) for name, kind in TYPES.items()}
        for name, file in self._files.items():
            self.putChild(name.encode(), file)

    def link(self, name: str) -> str:
        """
        The path of a file.
        """
        return f"/static/{name}?v={self._files[name].tag}"

    def render(self, request: Request) -> bytes:
        """
        There is no list of them.
        """
        return write_problem(request, NO_FILE)

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        There are no others.
        """
        return ProblemResource(NO_FILE)
