"""The one command, as a person runs it: to its end, stopped, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import PROJECT, home_with_jars

#: A replay of a few seconds.
SMALL = ("--demo.cascades", "150", "--demo.duration_s", "12", "--spark.ui_port", "0")
PORTS = ("--serving.monitor_port", "0", "--serving.dashboard_port", "0")


@pytest.fixture
def home(tmp_path):
    return home_with_jars(tmp_path / "home")


def start(home, *flags):
    command = [
        sys.executable,
        "-m",
        "jobs.cli",
        "demo",
        "--json",
        "--home",
        str(home),
        *SMALL,
        *PORTS,
        *flags,
    ]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def tell(process, words, timeout_s=120):
    """Read stderr until a line holds the words."""
    deadline, seen = time.monotonic() + timeout_s, []
    for line in process.stderr:
        seen.append(line)
        if words in line:
            return
        if time.monotonic() > deadline:
            break
    raise AssertionError("".join(seen))


def gone(processes, timeout_s=60):
    """Whether all have ended in time."""
    return not psutil.wait_procs(processes, timeout=timeout_s)[1]


def test_demo_accounts_for_every_event_and_leaves_nothing_running(home):
    process = start(home)
    tell(process, "replaying")
    family = psutil.Process(process.pid).children(recursive=True)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["sound"]
    assert summary["complete"]
    assert summary["events"] == summary["accounted"] > 5_000
    assert summary["predictions"] == summary["partials"] == summary["stats"] > 200
    assert summary["first_prediction_s"] is not None
    assert gone(family)


def test_ctrl_c_ends_the_demo_cleanly(home):
    process = start(home, "--demo.duration_s", "600")
    tell(process, "replaying")
    family = psutil.Process(process.pid).children(recursive=True)
    assert any(member.name() == "java" for member in family)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert json.loads(out)["complete"] is False
    assert "Traceback" not in err
    assert gone(family)


def test_a_killed_demo_leaves_no_broker_and_no_spark_behind(home):
    process = start(home, "--demo.duration_s", "600")
    tell(process, "replaying")
    family = psutil.Process(process.pid).children(recursive=True)
    assert sum(member.name() == "java" for member in family) == 2
    process.kill()
    process.wait(30)
    assert gone(family)


def test_a_file_that_cannot_be_replayed_is_refused_before_anything_starts(home, tmp_path):
    data = tmp_path / "events.csv"
    data.write_text("cascade,t_s,followers\na,0,1\na,x,1\n", "utf-8")
    process = start(home, "--data", str(data))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "events.csv, line 3" in err
    assert not (home / "broker").exists()
