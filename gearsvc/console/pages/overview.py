"""
The server at a glance: is it well, and if not, what is to be done?
"""

from __future__ import annotations

from gearsvc.console.pages.parts import number
from gearsvc.console.pages.elements import element
from gearsvc.console.pages.serving import Asked, Page, Shown


class OverviewPage(Page):
    """
    C{/}
    """

    section = "/"

    async def show(self, asked: Asked) -> Shown:
        """
        Show it.
        """
        seen = await self.views.overview()
        return Shown("Overview", element("p", number(seen.total)), self.section)
