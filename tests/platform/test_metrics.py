"""Figures in the log, in the form that CloudWatch reads: one JSON object a line, its instructions at the root."""

import logging
import os
import subprocess
import sys
import time

import pytest

from tests.platform.logs import read_log
from vibecode.local.folder import REPOSITORY
from vibecode.observability import metric, note


def test_a_figure_is_one_line_in_the_embedded_metric_format() -> None:
    """The members that the specification says MUST be there, and that each name it mentions is a member of the root.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    note(order="ORD-1")
    with read_log() as lines:
        metric("PaymentsByOutcome", 3, outcome="captured", provider="demo")

    [line] = lines
    meta = line["_aws"]
    [directive] = meta["CloudWatchMetrics"]
    assert abs(meta["Timestamp"] / 1000 - time.time()) < 5
    assert directive == {
        "Namespace": "Vibecode",
        "Dimensions": [["Stage", "outcome", "provider"]],
        "Metrics": [{"Name": "PaymentsByOutcome", "Unit": "Count"}],
    }
    assert line["PaymentsByOutcome"] == 3
    assert (line["Stage"], line["outcome"], line["provider"]) == ("local", "captured", "demo")
    assert all(isinstance(line[name], str) for name in directive["Dimensions"][0])


def test_the_stage_is_always_a_dimension_and_the_unit_is_said() -> None:
    with read_log() as lines:
        metric("OldestUnsentSeconds", 1.5, "Seconds")

    [directive] = lines[0]["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["Stage"]]
    assert directive["Metrics"] == [{"Name": "OldestUnsentSeconds", "Unit": "Seconds"}]
    assert lines[0]["OldestUnsentSeconds"] == 1.5


def test_figures_come_however_little_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)

    with read_log() as lines:
        metric("EventsSent", 1)

    assert len(lines) == 1


def test_a_figure_for_eyes_is_a_plain_line() -> None:
    code = (
        "import django; django.setup(); from vibecode.observability import metric; metric('EventsSent', 7, lane='fast')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env={**os.environ, "LOG_FORMAT": "console"}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip

    [line] = shown.stdout.splitlines()
    assert "EventsSent=7" in line
    assert "lane=fast" in line
    assert "_aws" not in line
