"""
What Redis itself says of how well it keeps things.
"""

from __future__ import annotations

from dataclasses import dataclass

from gearsvc.interfaces import StoreError
from gearsvc.stores.redisconnection import Connection

_ASKED = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy")


@dataclass(frozen=True)
class RedisSettings:
    """
    The settings that matter, as Redis writes them; C{None} is one that it does not tell.
    """

    appendonly: bool | None = None
    appendfsync: str | None = None
    save: str | None = None
    maxmemory: int | None = None
    maxmemory_policy: str | None = None

    @property
    def durability(self) -> str:
        """
        What a crash of anything can lose, as the rest of a sentence.
        """
        return f"what was acknowledged survives a crash of this server; {self._on_disk()}; {self._when_full()}"

    def _on_disk(self) -> str:
        if self.appendonly is None:
            return "whether it survives one of Redis is not known, as this user may not ask for its settings (CONFIG GET)"
        if self.appendonly:
            if self.appendfsync == "always":
                return "with appendfsync always it survives one of Redis and of its machine"
            if self.appendfsync == "everysec":
                return "with appendfsync everysec a crash of Redis or of its machine can lose the last two seconds"
            if self.appendfsync == "no":
                return "with appendfsync no a crash of its machine can lose what the system has not written, half a minute or so"
            return "with appendonly yes a crash of Redis can lose seconds, depending on its appendfsync, which it does not tell"
        if self.save:
            return "with appendonly no a crash of Redis loses all that came since its last snapshot"
        if self.save is None:
            return "with appendonly no a crash of Redis loses all, or what came since its last snapshot"
        return "with appendonly no and no snapshots (save) all is lost when Redis ends"

    def _when_full(self) -> str:
        if not self.maxmemory:
            return "its memory has no limit (maxmemory)" if self.maxmemory == 0 else "its maxmemory is not known"
        megabytes = f"{self.maxmemory / (1 << 20):.0f} MB"
        if self.maxmemory_policy is not None and self.maxmemory_policy.startswith("allkeys"):
            return (
                f"jobs are lost without a word when its {megabytes} are full (maxmemory-policy {self.maxmemory_policy};"
                " noeviction would refuse new ones instead)"
            )
        return f"new jobs are refused when its {megabytes} are full"


async def read_settings(connection: Connection) -> RedisSettings:
    """
    Ask for the settings.  A user who may not ask gets those that are not known.

    @raise StoreError: if Redis can't be asked at all.
    """
    found: dict[str, str] = {}
    try:
        info: bytes = await connection.ask("INFO")
    except StoreError as error:
        if error.uncertain or error.unreachable:
            raise
    else:
        lines = dict(line.partition(":")[::2] for line in info.decode("utf-8", "replace").split("\r\n"))
        for name, line in (
            ("appendonly", "aof_enabled"), ("maxmemory", "maxmemory"), ("maxmemory-policy", "maxmemory_policy")
        ):
            if line in lines:
                found[name] = lines[line]
    for name in _ASKED:
        try:
            answer: list[bytes] | None = await connection.ask("CONFIG", "GET", name)
        except StoreError as error:
            if error.uncertain or error.unreachable:
                raise
            break
        if answer and len(answer) == 2:
            found[name] = answer[1].decode("utf-8", "replace")
    return RedisSettings(
        appendonly=found["appendonly"] in ("yes", "1") if "appendonly" in found else None,
        appendfsync=found.get("appendfsync"),
        save=found.get("save"),
        maxmemory=int(found["maxmemory"]) if found.get("maxmemory", "").isdigit() else None,
        maxmemory_policy=found.get("maxmemory-policy"),
    )
