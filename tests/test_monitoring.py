"""The dashboard and the alert rules: about metrics that there are, and with a way out for each."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from broker.core import errors
from broker.telemetry import Metrics

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "docs/monitoring/alerts.yml"
DASHBOARD = json.loads((ROOT / "docs/monitoring/dashboard.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
EXPRESSIONS = [
    *(alert["expr"] for alert in ALERTS),
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())),
]

#: Of every scrape, and what scrapes and stores add to each sample.
UP, ADDED = {"up"}, {"instance", "job", "le"}

PROMTOOL = shutil.which("promtool")


def measured() -> dict[str, set[str]]:
    """Every metric with its labels."""
    metrics = Metrics()
    labels = {
        collector._name: set(collector._labelnames)
        for collector in vars(metrics).values()
        if hasattr(collector, "_labelnames")
    }
    families = text_string_to_metric_families(metrics.render().decode())
    return {family.name: labels.get(family.name, set()) for family in families}


MEASURED = measured()


def family_of(series: str) -> str:
    return re.sub(r"_(total|bucket|sum|count)$", "", series)


def used(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:desk|process)_[a-z_]+\b|\bup\b", expression)) - {"process_"}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_about_metrics_and_labels_that_there_are(expression):
    """By all that it selects, adds up and divides by."""
    names = {name for name in used(expression) if name not in UP}
    assert {family_of(name) for name in names} <= MEASURED.keys()
    known = ADDED.union(*(MEASURED[family_of(name)] for name in names))
    selected = re.findall(r"[{,]\s*([a-z_]+)\s*(?:=|!)", expression)
    grouped = ",".join(re.findall(r"by \(([^)]*)\)", expression))
    assert {*selected, *filter(None, re.split(r"[,\s]+", grouped))} <= known


def test_every_metric_is_on_the_dashboard_or_in_an_alert():
    """One that nobody looks at is no help."""
    seen = {family_of(name) for expression in EXPRESSIONS for name in used(expression)}
    assert MEASURED.keys() - seen <= {"process_virtual_memory_bytes"}


def test_outcomes_that_an_alert_counts_are_codes_of_errors():
    """As `desk_session_starts_total` names them."""
    codes = {kind.code for kind in vars(errors).values() if hasattr(kind, "code")}
    told = [re.findall(r'outcome=~"([^"]+)"', alert["expr"]) for alert in ALERTS]
    outcomes = {name for expressions in told for text in expressions for name in text.split("|")}
    assert outcomes
    assert outcomes <= codes


def test_every_alert_has_a_section_that_says_what_to_look_at_and_to_do():
    """And no section is about an alert that there is not."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    part = text.split("\n## Alerts\n")[1].split("\n## ")[0]
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", part, re.MULTILINE | re.DOTALL))
    assert list(sections) == [alert["alert"] for alert in ALERTS]
    for name, section in sections.items():
        assert "- Look" in section, name
        assert "- Do" in section or "- Look and do" in section, name
    for alert in ALERTS:
        runbook = alert["annotations"]["runbook"]
        assert runbook == f"docs/operations.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in {"page", "ticket"}


def test_panels_of_the_dashboard_are_told_apart():
    """And each but a heading shows something."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["type"] == "row" or panel["targets"] for panel in panels)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here (Debian's package prometheus)")
def test_promtool_finds_nothing_wrong_with_the_rules():
    assert PROMTOOL is not None
    checked = subprocess.run(
        [PROMTOOL, "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert f"{len(ALERTS)} rules found" in checked.stdout
