"""deskctl status: how the broker itself is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.cli.ctl import Desk, verb
from broker.cli.output import moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import click


def add_status(main: click.Group) -> None:
    """The verb without a noun."""

    @verb(main, "status")
    def status(desk: Desk) -> None:
        """Tell how loops, engine, starts, front doors and pools are."""
        found = desk.client.call("GET", "/status")
        desk.out.text(found, "\n".join(_lines(found)))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    engine, starts = found["engine"], found["starts"]
    yield f"Desk {found['version']} runs since {moment(found['since'])}."
    if engine["up"]:
        since = "" if engine["since"] is None else f", heard since {moment(engine['since'])}"
        yield f"The engine is up: {engine['version']}{since}."
    else:
        yield f"The engine does not answer: {engine['problem']}"
    yield (
        f"Starts: {starts['under_way']} of {starts['at_once']} under way,"
        f" {starts['waiting']} of {starts['waiting_most']} wait."
    )
    for door in found["doors"]:
        load = "has not told yet" if door["connections"] is None else _load(door)
        yield f"Door {door['door']}: {load}."
    for pool in found["leases"]:
        yield f"Leased of {pool['kind']}: {pool['used']} of {pool['of']}."
    wrong = [loop for loop in found["loops"] if loop["check"] != "ok"]
    for loop in wrong:
        yield f"The loop {loop['name']}: {loop['check']}."
    if not wrong:
        yield f"All {len(found['loops'])} loops are well."
    if found["network"] != "ok":
        yield f"The network: {found['network']}"


def _load(door: Mapping[str, Any]) -> str:
    return (
        f"{door['connections']} connections, {door['authenticated']} logins,"
        f" {door['attachments']} attachments, {1000 * door['lag']:.0f} ms late at most"
    )
