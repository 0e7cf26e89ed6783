"""What people say to their desktops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import Conflict, NotFound
from broker.core.model import DEFAULT_DESKTOP, SessionState, desktop_name, shown
from broker.core.words import spoken, spoken_size
from broker.service import keeping, why
from broker.service.vocabulary import Facts, listed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from broker.core.idle import IdlePolicy
    from broker.core.interfaces import Store
    from broker.core.model import Desktop, Session
    from broker.service.accounts import Accounts
    from broker.service.lines import Entrance
    from broker.service.policies import Policies
    from broker.service.presence import Presence
    from broker.service.reaper import Reaper
    from broker.service.sessions import Sessions
    from broker.service.vocabulary import Call, Caller
    from broker.service.watches import Watch, Watches

    Say = Callable[[Caller, Call], Awaitable[Facts]]

#: Seconds that `extend` gives when no time is said, as the button of a warning says none.
_EXTEND = 4 * 3600.0

#: How `connect` calls each of its lines.
_PURPOSES = {
    "shell": "a shell",
    "files": "files",
    "window": "in a window",
    "vscode": "VS Code",
    "browser": "in a browser",
}

#: Seconds by which a step has to come before the end of a keep to be worth a word.
_SOON = 60.0


class DesktopWords:
    """Starts nothing but what the word asks for. `later` does something once the answer is out."""

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        accounts: Accounts,
        presence: Presence,
        watches: Watches,
        reaper: Reaper,
        explainer: why.Explainer,
        policies: Policies,
        entrance: Entrance,
        later: Callable[[Callable[[], Awaitable[object]]], None],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._accounts = accounts
        self._presence = presence
        self._watches = watches
        self._reaper = reaper
        self._explainer = explainer
        self._policies = policies
        self._entrance = entrance
        self._later = later

    def answers(self) -> Mapping[str, Say]:
        return {
            "list": self.list,
            "status": self.status,
            "why": self.why,
            "start": self.start,
            "stop": self.stop,
            "extend": self.extend,
            "keep": self.keep,
            "sleep": self.sleep,
            "connect": self.connect,
            "ssh-config": self.ssh_config,
        }

    async def list(self, caller: Caller, _call: Call) -> Facts:
        desktops = await self._store.desktops(user_id=caller.user.id)
        found = [await self._facts(desktop) for desktop in desktops]
        if not found:
            return Facts(
                [], f"You have no desktop yet; the first connect makes '{DEFAULT_DESKTOP}'."
            )
        rows: list[tuple[str, ...]] = [("NAME", "STATE", "DISPLAY", "ATTACHED")]
        rows += [
            (str(f["name"]), str(f["state"]), str(f["display"] or "-"), str(f["attached"]))
            for f in found
        ]
        return Facts(found, listed(rows))

    async def status(self, caller: Caller, call: Call) -> Facts:
        return _in_full(await self._facts(await self._named(caller, call)))

    async def why(self, caller: Caller, call: Call) -> Facts:
        found = await self._explainer.why(await self._named(caller, call))
        return Facts(why.data(found), why.text(found))

    async def start(self, caller: Caller, call: Call) -> Facts:
        name = call.name or caller.desktop
        desktop = await self._accounts.desktop_for(caller.user, name, actor=caller.actor)
        await self._sessions.ensure(desktop, actor=caller.actor)
        facts = await self._facts(desktop)
        return Facts(facts, f"{desktop.name} is ready on display {facts['display']}.")

    async def stop(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        session = await self._store.live_session(desktop.id)
        if session is None:
            return Facts(await self._facts(desktop), f"{desktop.name} is not running.")

        async def stop() -> None:
            await self._sessions.stop(
                session.id, reason=f"{caller.user.name} stopped it", actor=caller.actor
            )

        if caller.inside:
            self._later(stop)
            return Facts(await self._facts(desktop), f"{desktop.name} is being stopped.")
        await stop()
        return Facts(await self._facts(desktop), f"{desktop.name} is stopped; its home is kept.")

    async def extend(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        policy = await self._idle(desktop)
        if call.time is None:
            return await self._kept(caller, desktop, min(_EXTEND, policy.keep_up_to))
        return await self._kept(caller, desktop, keeping.seconds(call.time, policy))

    async def keep(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        return await self._kept(caller, desktop, (await self._idle(desktop)).keep_up_to)

    async def _kept(self, caller: Caller, desktop: Desktop, seconds: float) -> Facts:
        await self._reaper.keep(await self._watch(desktop), seconds, actor=caller.actor)
        found = await self._explainer.why(desktop)
        if not seconds:
            return Facts(why.data(found), f"{desktop.name} is no longer kept awake.")
        told = f"{desktop.name} is kept awake for {spoken(seconds)}."
        if found.verdict is not None and found.verdict.due < seconds - _SOON:
            told = "\n".join([told, *why.next_step(found)])  # its age is not put off by that
        return Facts(why.data(found), told)

    async def sleep(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        watch = await self._watch(desktop)
        if watch.frozen is not None:
            return Facts(await self._facts(desktop), f"{desktop.name} sleeps already.")

        async def freeze() -> None:
            await self._reaper.freeze(watch, still=_always, by=caller.user.name, actor=caller.actor)

        if caller.inside:
            self._later(freeze)
            return Facts(await self._facts(desktop), f"{desktop.name} goes to sleep.")
        await freeze()
        facts = await self._facts(desktop)
        if facts["state"] != SessionState.FROZEN:
            raise Conflict(public=f"{desktop.name} is wanted by somebody just now. Try again.")
        return Facts(facts, f"{desktop.name} sleeps; the next connect wakes it.")

    async def connect(self, caller: Caller, call: Call) -> Facts:
        desktop = await self._named(caller, call)
        session = await self._store.live_session(desktop.id)
        display = None if session is None else session.display
        lines = self._entrance.lines(desktop.name, desktop.id, display)
        told = [f"{_PURPOSES[purpose]:<14}{line}" for purpose, line in lines.items()]
        return Facts(lines, "\n".join(told))

    async def ssh_config(self, caller: Caller, call: Call) -> Facts:
        block = self._entrance.block((await self._named(caller, call)).name)
        return Facts({"block": block}, block)

    async def _watch(self, desktop: Desktop) -> Watch:
        session = await self._store.live_session(desktop.id)
        return keeping.watched(
            session,
            named=desktop.name,
            policy=await self._idle(desktop),
            watches=self._watches,
        )

    async def _idle(self, desktop: Desktop) -> IdlePolicy:
        return (await self._policies.of(desktop.user_id)).policy.idle

    async def _named(self, caller: Caller, call: Call) -> Desktop:
        name = desktop_name(call.name or caller.desktop)
        desktop = await self._store.desktop_of(caller.user.id, name)
        if desktop is None:
            raise NotFound(
                public=f"You have no desktop {shown(name)}; 'desk list' shows what you have."
            )
        return desktop

    async def _facts(self, desktop: Desktop) -> dict[str, str | int | None]:
        session = await self._store.live_session(desktop.id)
        return _facts(desktop, session, self._presence.counts()[session.id] if session else 0)


async def _always() -> bool:
    return True


def _facts(desktop: Desktop, session: Session | None, attached: int) -> dict[str, str | int | None]:
    archive = desktop.archive if session is None else None
    unused = "archived" if archive else "stopped"
    return {
        "name": desktop.name,
        "id": desktop.id,
        "state": session.state.value if session else unused,
        "display": f":{session.display}" if session else None,
        "since": session.changed_at.isoformat(timespec="seconds") if session else None,
        "attached": attached,
        **why.archived(archive),
    }


def _in_full(facts: dict[str, str | int | None]) -> Facts:
    told = {key: value for key, value in facts.items() if not key.startswith("archive")}
    if facts["archived_at"] is not None:
        told["archived"] = f"{facts['archived_at']}, {spoken_size(int(facts['archive_size'] or 0))}"
    lines = [f"{key:<9} {value}" for key, value in told.items() if value is not None]
    return Facts(facts, "\n".join(lines))
