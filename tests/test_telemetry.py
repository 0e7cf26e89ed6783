"""Logs: one line for each event, whatever is in it; metrics in Prometheus' format."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from broker import telemetry


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def restored():
    """Logging and structlog as they were, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in telemetry.QUIET}
    config = structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.configure(**config)


@pytest.fixture
def err(capsys, restored):
    """Asks for what was written to standard error since the last time."""
    return lambda: capsys.readouterr().err


def lines(err) -> list[dict]:
    return [json.loads(line) for line in err().splitlines()]


def test_an_event_is_one_json_line_with_its_facts(err):
    """Time in UTC, level, the phrase, and what was said with it."""
    telemetry.configure("json")
    structlog.get_logger().info("session ready", session="abc", took=0.5)
    (line,) = lines(err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "session ready", "level": "info", "session": "abc", "took": 0.5}


def test_libraries_speak_through_the_same_formatter(err):
    """From a warning on; what they chat about is not told."""
    telemetry.configure("json")
    logging.getLogger("aiosqlite").info("executing")
    logging.getLogger("aiosqlite").warning("slow: %s", "query")
    logging.getLogger("somebody.else").info("told")
    assert [(line["event"], line["level"]) for line in lines(err)] == [
        ("slow: query", "warning"),
        ("told", "info"),
    ]


def test_debug_is_not_told(err):
    """Unless somebody asks for it."""
    telemetry.configure("json")
    structlog.get_logger().debug("detail")
    assert err() == ""
    telemetry.configure("json", level=logging.DEBUG)
    structlog.get_logger().debug("detail")
    assert lines(err)[0]["event"] == "detail"


@pytest.mark.parametrize("library", [False, True], ids=["ours", "a library's"])
def test_an_exception_is_in_its_events_line(err, library):
    """With its traceback, and still one line."""
    telemetry.configure("json")
    log = logging.getLogger("library") if library else structlog.get_logger()
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        log.exception("a pass failed")
    (line,) = lines(err)
    assert (line["event"], line["level"]) == ("a pass failed", "error")
    assert "RuntimeError: first\nsecond" in line["exception"]
    assert "Traceback" in line["exception"]


@pytest.mark.parametrize(
    "hostile",
    ["a\nb", "a\r\nb", "\x1b[2J\x07", "a\u2028b", "\udcff", '"},{"event":"forged'],
    ids=ascii,
)
def test_hostile_text_stays_on_one_line(err, hostile):
    """In a fact or in a library's message: nobody forges a second event."""
    telemetry.configure("json")
    structlog.get_logger().warning("refused", name=hostile)
    logging.getLogger("library").warning("client said %s", hostile)
    text = err()
    assert text.isascii()
    ours, theirs = [json.loads(line) for line in text.splitlines()]
    assert ours["name"] == hostile
    assert theirs["event"] == f"client said {hostile}"


def test_what_json_does_not_know_is_written_somehow(err):
    """An event is never lost for an odd fact."""
    telemetry.configure("json")
    structlog.get_logger().info("odd", value={1, 2}, error=ValueError("x"))
    assert lines(err)[0]["event"] == "odd"


def test_context_is_bound_once_at_the_edge(err):
    """Every event below tells it."""
    telemetry.configure("json")
    with structlog.contextvars.bound_contextvars(conn="c1"):
        structlog.get_logger().info("inside")
    structlog.get_logger().info("outside")
    inside, outside = lines(err)
    assert inside["conn"] == "c1"
    assert "conn" not in outside


def test_configuring_twice_tells_once(err):
    """There is one handler, whoever configured before."""
    telemetry.configure("json")
    telemetry.configure("json")
    structlog.get_logger().info("once")
    assert len(lines(err)) == 1


@pytest.mark.parametrize(
    ("style", "stream", "for_people"),
    [
        ("auto", io.StringIO, False),
        ("auto", Terminal, True),
        ("json", Terminal, False),
        ("console", io.StringIO, True),
    ],
)
def test_people_get_text_and_programs_json(monkeypatch, restored, style, stream, for_people):
    """By the terminal, unless the configuration says which."""
    monkeypatch.setattr(sys, "stderr", stream())
    telemetry.configure(style)
    structlog.get_logger().info("hello", name="ada")
    text = sys.stderr.getvalue()
    assert "hello" in text
    assert text.startswith("{") is not for_people


def test_metrics_are_parseable_and_start_at_nothing():
    """Each has a name of ours and a sentence; two brokers of one process do not share them."""
    metrics, other = telemetry.Metrics(), telemetry.Metrics()
    other.attachments.set(7)
    metrics.sessions.labels("ready").set(2)
    metrics.starts.labels("ready").inc()
    metrics.start_seconds.observe(0.7)
    families = {f.name: f for f in text_string_to_metric_families(metrics.render().decode())}
    assert all(
        name.startswith(("desk_", "process_")) and f.documentation for name, f in families.items()
    )
    assert families["desk_sessions"].samples[0].labels == {"state": "ready"}
    assert families["desk_attachments"].samples[0].value == 0


def test_the_text_for_people_cannot_command_a_terminal(err):
    """What a client named itself is shown escaped, and stays on its line."""
    telemetry.configure("console")
    structlog.get_logger().info("client gone", client="\x1b]52;c;aGk=\x07\nforged line")
    (line,) = err().splitlines()
    assert "\x1b]52" not in line
    assert "\\x1b]52" in line


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_traceback_tells_no_local_variable(err, style):
    """One can be a password."""
    telemetry.configure(style)

    def check(password):
        raise ValueError("no")

    secret = "battery-staple"
    try:
        check(secret)
    except ValueError:
        structlog.get_logger().exception("it broke")
    said = err()
    assert "ValueError" in said
    assert "in check" in said
    assert secret not in said


def test_the_journal_is_told_how_much_a_line_weighs(monkeypatch, tmp_path, restored):
    """Where standard error is what systemd reads, and nowhere else: by `journalctl -p`."""
    path = tmp_path / "journal"
    with path.open("w+") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        there = path.stat()
        for told in (f"{there.st_dev}:{there.st_ino}", f"{there.st_dev}:1", ""):
            monkeypatch.setenv("JOURNAL_STREAM", told)
            telemetry.configure()
            structlog.get_logger().error("one")
            logging.getLogger("library").warning("two")
            structlog.get_logger().info("three")
    lines = path.read_text().splitlines()
    assert [line[:4] for line in lines[:3]] == ["<3>{", "<4>{", "<6>{"]
    assert [line[0] for line in lines[3:]] == ["{"] * 6
    assert json.loads(lines[0][3:])["event"] == "one"


@pytest.mark.parametrize(
    ("level", "told"),
    [("debug", "abcd"), ("info", "bcd"), ("warning", "cd"), ("error", "d")],
)
def test_what_weighs_less_than_the_level_is_not_told(err, level, told):
    """Which can be chosen anew at any time."""
    telemetry.configure("json")
    telemetry.configure("json", level)
    log = structlog.get_logger()
    for event, tell in zip("abcd", (log.debug, log.info, log.warning, log.error), strict=True):
        tell(event)
    assert "".join(line["event"] for line in lines(err)) == told
