"""A viewer in a browser: by Desk's relay and by a plain websockify, of the same desktop."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections import defaultdict
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench import doors
from bench.chromium import Visit, visits
from bench.figures import Bar, Measure
from bench.peers import Unavailable
from tests.browser.rfb import Rect, Viewer
from tests.browser.visitor import Visitor
from tests.e2e.desk import HOST, until
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from bench.stage import Stage
    from tests.e2e.desk import Person

ROUNDS = 6

#: Seconds that count of a viewer, and that come before: the first picture is no frame of a film.
_COUNTED, _BEFORE = 4.0, 0.7
_PROBES = 40
_PAUSE = 0.03

_PEER, _DESK, _WHOLE = "websockify", "desk", "desk, with the desktop's own sshd"
_PASSWORD = "a bench of one's own 7"

#: Where a window of 300 by 200 goes: no place meets another.
_PLACES = [(40, 60), (700, 60), (40, 460), (700, 460)]


@dataclass
class Way:
    """One way to the desktop's screen."""

    name: str
    enter: Callable[[], AbstractAsyncContextManager[Viewer]]
    spent: Callable[[], dict[str, float]]
    """Processor seconds so far, by the name that they are told under."""


def run(stage: Stage, rounds: int) -> list[Measure]:
    rate, cpu = [Bar(_DESK, 0.95, _PEER, least=True)], [Bar(_DESK, 2, _PEER)]
    # So much later as there may be fewer frames.
    late = [Bar(_DESK, 1 / 0.95, _PEER)]
    measures = {
        "circle": _measure("updates of a moving window", "1/s", rate),
        "circle cpu": _measure("processor for a viewer of it", "% of a core", cpu),
        "film": _measure("updates of a film, 640x360", "1/s", rate),
        "film cpu": _measure("processor for a viewer of it", "% of a core", cpu),
        "follow": _measure("an update of a window that follows the pointer, p50", "ms", [], 2),
        "seen": _measure("the same as Chromium draws it, p50", "ms", late),
        "click": _measure("click to the first frame in Chromium", "ms", []),
    }
    try:
        with _both(stage) as (person, ways, peers_page):
            found = {}
            for how in ("circle", "film", "follow"):
                with _window(stage, person, how):
                    found |= asyncio.run(_rounds(ways, how, rounds))
                    if how == "follow":
                        pages = _visits(stage, person, peers_page)
                        found |= visits(pages, rounds, _PLACES, _PROBES)
    except Unavailable as why:
        measures["circle"].notes.append(str(why))
        return [measures["circle"]]
    for key, samples in found.items():
        measures[key].samples = samples
    return list(measures.values())


def _measure(title: str, unit: str, bars: list[Bar], digits: int = 1) -> Measure:
    return Measure("browser", title, unit, {}, bars, digits=digits)


@contextmanager
def _both(stage: Stage) -> Iterator[tuple[Person, list[Way], str]]:
    """Somebody's desktop, the ways to its screen, and where the peer's page is."""
    desk, person = stage.desk, stage.inside("viewer")
    desk.deskctl("user", "password", "set", person.name, stdin=f"{_PASSWORD}\n")
    session = next(s for s in desk.listing("sessions") if s["user"] == person.name)
    container = desk.containers()[session["id"]]
    with ExitStack() as stack:
        port, pid = stack.enter_context(_websockify(stage, container.attrs["State"]["Pid"]))
        front = doors.of(desk)
        path = f"/ws/desktops/{session['desktop_id']}/screen"

        def by_door() -> dict[str, float]:
            processes = container.top(ps_args="-eo pid,comm")["Processes"]
            inside = [int(pid) for pid, name in processes if name.startswith("sshd")]
            ours = doors.cpu(front)
            return {_DESK: ours, _WHOLE: ours + doors.cpu(inside)}

        ways = [
            Way(_PEER, lambda: _plain(port), lambda: {_PEER: doors.cpu(doors.family(pid))}),
            Way(_DESK, lambda: _by_desk(desk.http_port, person.name, path), by_door),
        ]
        yield person, ways, f"http://{HOST}:{port}/page.html"


@contextmanager
def _websockify(stage: Stage, pid: int) -> Iterator[tuple[int, int]]:
    """Its port and its process: at the desktop's VNC socket itself, as nobody but root reaches it."""
    program, socket = shutil.which("websockify"), Path(f"/proc/{pid}/root/run/desk/vnc.sock")
    if program is None:
        raise Unavailable("websockify is not installed: there is nothing to compare with.")
    if not socket.is_socket():
        raise Unavailable("the desktop's VNC socket is reached by root, on its own host, alone.")
    port, pages = free_port(), stage.directory / "pages"
    novnc = Path(__file__).parents[1] / "broker/web/node_modules/@novnc/novnc"
    pages.mkdir()
    shutil.copytree(novnc, pages / "novnc")
    shutil.copy(Path(__file__).with_name("page.html"), pages)
    words = [program, f"--unix-target={socket}", f"--web={pages}", f"{HOST}:{port}"]
    with (stage.directory / "websockify.log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: _listens(port), what="websockify")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    return bool(doors.inodes(port, doors.LISTEN))


@asynccontextmanager
async def _plain(port: int) -> AsyncIterator[Viewer]:
    async with Visitor(f"http://{HOST}:{port}") as visitor, visitor.relay("/") as socket:
        viewer = Viewer(socket)
        await viewer.begin()
        yield viewer


@asynccontextmanager
async def _by_desk(port: int, user: str, path: str) -> AsyncIterator[Viewer]:
    async with Visitor(f"http://{HOST}:{port}") as visitor:
        await visitor.sign_in(user, _PASSWORD)
        async with visitor.screen(path) as screen:
            yield screen


@contextmanager
def _window(stage: Stage, person: Person, how: str) -> Iterator[None]:
    """That window in the desktop, as long as it is entered."""
    words = [*stage.desk.ssh_command(person), f"exec python3 - {how}"]
    with Path(__file__).with_name("window.py").open("rb") as source:
        program = subprocess.Popen(words, stdin=source, stdout=subprocess.PIPE, env=stage.desk.env)
    assert program.stdout is not None
    try:
        if program.stdout.readline() != b"ready\n":
            raise RuntimeError("the window did not come")
        yield
    finally:
        program.kill()
        program.communicate()


async def _rounds(ways: list[Way], how: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds + 1):
        for way in ways if number % 2 else ways[::-1]:
            async with asyncio.timeout(60), way.enter() as viewer:
                await viewer.frame()
                told = await (_late(viewer, way) if how == "follow" else _busy(viewer, way, how))
            # The first round warms up what there is.
            for key, samples in told.items() if number else ():
                for name, value in samples.items():
                    found[key][name].append(value)
    return {
        key: {name: samples[name] for name in (_PEER, _DESK, _WHOLE) if name in samples}
        for key, samples in found.items()
    }


async def _busy(viewer: Viewer, way: Way, how: str) -> dict[str, dict[str, float]]:
    await _frames(viewer, _BEFORE)
    before = way.spent()
    count = await _frames(viewer, _COUNTED)
    spent = {name: (cpu - before[name]) / _COUNTED * 100 for name, cpu in way.spent().items()}
    return {how: {way.name: count / _COUNTED}, f"{how} cpu": spent}


async def _frames(viewer: Viewer, seconds: float) -> int:
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        await viewer.frame()
        count += 1
    return count


async def _late(viewer: Viewer, way: Way) -> dict[str, dict[str, float]]:
    """From the pointer's move to the picture of the window there."""
    taken = []
    for number in range(_PROBES):
        x, y = _PLACES[number % len(_PLACES)]
        there = Rect(x, y, 300, 200, 0)
        began = time.perf_counter()
        await viewer.point(x, y)
        while not any(rect.meets(there) for rect in await viewer.frame()):
            pass
        taken.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(_PAUSE)
    return {"follow": {way.name: median(taken)}}


def _visits(stage: Stage, person: Person, peers_page: str) -> list[Visit]:
    home = f"http://{HOST}:{stage.desk.http_port}/"
    return [Visit(_PEER, peers_page), Visit(_DESK, home, person.name, _PASSWORD)]
