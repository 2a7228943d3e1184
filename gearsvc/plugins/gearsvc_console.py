"""
The console: an API, metrics and pages about the server, over HTTP.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from gearsvc.interfaces import IProtocolMaker
from gearsvc.options import Option, SettingsError, port_or_endpoint, some_text, whole_number, yes_or_no

if TYPE_CHECKING:
    from twisted.application.service import IService

    from gearsvc.config import Settings
    from gearsvc.service import JobServerService


@implementer(IPlugin, IProtocolMaker)
class ConsoleMaker:
    """
    The console.
    """

    names = ("console",)
    summary = "pages, a JSON API, an event stream, Prometheus metrics and health, over HTTP"

    port = Option(
        "console-port",
        "A port number, or a Twisted endpoint. May be given more than once.",
        port_or_endpoint,
        ("4780",),
        metavar="PORT",
        repeatable=True,
        shown="4780",
    )
    listen = Option(
        "console-listen",
        "At which address port numbers are opened. Beyond this machine needs --console-token-file. May be given more than once.",
        some_text,
        ("127.0.0.1",),
        metavar="ADDRESS",
        repeatable=True,
        shown="127.0.0.1",
    )
    host = Option(
        "console-host",
        "A name under which a proxy reaches the console, where there is no --console-token-file: without tokens, it answers "
        "only to numbers and to localhost. May be given more than once.",
        some_text,
        (),
        metavar="NAME",
        repeatable=True,
    )
    token_file = Option(
        "console-token-file",
        "The file of those who may use the console: lines 'viewer TOKEN' and 'operator TOKEN'. Others may not be able to read it.",
        some_text,
        metavar="FILE",
    )
    payload_bytes = Option(
        "console-payload-bytes",
        "How much of a workload and of a result is shown.",
        whole_number(0, 1024 * 1024),
        4096,
        metavar="N",
    )
    mask_payloads = Option("console-mask-payloads", "Show no workload and no result.", yes_or_no, False)
    history = Option(
        "history",
        "How many jobs that are over stay visible; of those that complete in a second, no more than a tenth of it.",
        whole_number(0, 100_000),
        10_000,
        metavar="N",
    )
    options = (port, listen, host, token_file, payload_bytes, mask_payloads, history)

    def make(self, server: JobServerService, settings: Settings) -> IService:
        """
        Make the service that listens.

        @raise SettingsError: if a setting is wrong, if everybody would be let
            in, or if what it needs is not installed.
        """
        if find_spec("prometheus_client") is None:
            raise SettingsError("--protocol console needs what is not installed; pip install 'gearsvc[console]'")
        from gearsvc.console.site import Console, ConsoleSettings

        return Console(
            server,
            ConsoleSettings(
                ports=settings.value_of(self.port),
                listen=settings.value_of(self.listen),
                hosts=settings.value_of(self.host),
                token_file=settings.value_of(self.token_file),
                history=settings.value_of(self.history),
                payload_bytes=settings.value_of(self.payload_bytes),
                mask_payloads=settings.value_of(self.mask_payloads),
            ),
        )


console = ConsoleMaker()
