"""Doors that systemd keeps, replaced: by a systemctl that notes what it is told."""

from __future__ import annotations

import json
import sys

import pytest

from broker.system.roll import roll

SYSTEMCTL = """
import json, pathlib, sys
here = pathlib.Path(sys.argv[1])
units = json.loads((here / "units.json").read_text())
words = sys.argv[2:]
if words[0] == "show" and words[-1] == "desk-doors.service":
    print("desk-other.service desk-door@1.service desk-door@2.service")
elif words[0] == "show":
    print("\\n\\n".join(
        f"Id={name}\\nActiveState={state}\\nStatusText={text}\\nActiveEnterTimestampMonotonic={since}"
        for name, (state, text, since) in units.items()
    ))
else:
    with (here / "log").open("a") as log:
        print(*words, file=log)
    if (here / "broken").exists() and words[0] == "start":
        sys.exit("Job for it failed.\\nSee the journal.")
"""

LIVES, DRAINS = "Lets people in", "Drains: another has taken its place"


@pytest.fixture
def rolled(tmp_path):
    """Rolls these units, and returns the status and what was done."""

    def run(units):
        named = {f"desk-door@{number}.service": facts for number, facts in units.items()}
        (tmp_path / "units.json").write_text(json.dumps(named))
        status = roll((sys.executable, "-c", SYSTEMCTL, str(tmp_path)))
        log = tmp_path / "log"
        return status, log.read_text().splitlines() if log.exists() else []

    return run


def unit(number) -> str:
    return f"desk-door@{number}.service"


def test_new_doors_are_there_before_the_old_ones_drain(rolled):
    assert rolled({1: ("active", LIVES, 5), 2: ("active", LIVES, 6)}) == (
        0,
        [
            f"start {unit(3)}",
            f"start {unit(4)}",
            f"kill --signal=SIGUSR1 {unit(1)}",
            f"kill --signal=SIGUSR1 {unit(2)}",
        ],
    )


def test_a_door_that_drains_already_is_left_in_peace(rolled):
    """It keeps its name; one that is over gives it back, and one that cannot start is let go."""
    status, done = rolled(
        {
            1: ("active", DRAINS, 5),
            2: ("inactive", DRAINS, 0),
            3: ("active", LIVES, 7),
            4: ("activating", "", 0),
        }
    )
    assert status == 0
    assert done == [
        f"start {unit(2)}",
        f"start {unit(5)}",
        f"kill --signal=SIGUSR1 {unit(3)}",
        f"stop {unit(4)}",
    ]


def test_where_no_door_runs_none_is_started(rolled):
    """Somebody stopped them."""
    assert rolled({1: ("inactive", "", 0), 2: ("failed", "", 0)}) == (0, [])


def test_old_doors_stay_when_a_new_one_does_not_start(rolled, tmp_path, capsys):
    (tmp_path / "broken").touch()
    status, done = rolled({1: ("active", LIVES, 5)})
    assert status == 1
    assert done == [f"start {unit(2)}", f"stop {unit(2)}"]
    assert capsys.readouterr().err == (
        "The front doors were not replaced: 'systemctl start desk-door@2.service' failed:"
        " Job for it failed.\n"
    )


def test_of_a_crowd_that_drains_the_oldest_are_sent_home(rolled):
    crowd = {number: ("active", DRAINS, 100 - number) for number in range(10, 43)}
    status, done = rolled({1: ("active", LIVES, 200), **crowd})
    assert status == 0
    assert done[-2:] == [f"stop --no-block {unit(42)}", f"stop --no-block {unit(41)}"]
    assert sum(line.startswith("stop") for line in done) == 2
