import json
import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from jobs.runtime import broker_command
from jobs.runtime.broker import BrokerError, EmbeddedBroker, connected
from jobs.runtime.settings import Settings
from jobs.runtime.topics import TOPICS, ensure_topics
from tests.conftest import home_with_jars

pytestmark = pytest.mark.kafka

#: Kafka needs 3 s to stop when nothing else runs.
STOP_TIMEOUT_S = 60
PARENT = """
import sys
from jobs.runtime.broker import EmbeddedBroker, connected
from jobs.runtime.settings import Settings
settings = Settings(home=sys.argv[1])
with connected(settings):
    print(EmbeddedBroker(settings).status()["pid"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path):
    return home_with_jars(tmp_path / "a hôme with spaces")


@pytest.fixture
def parent(home):
    """A process in a session of its own, within `connected`; its broker's process id is on stdout."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def broker_of(parent):
    broker = psutil.Process(int(parent.stdout.readline()))
    assert broker.is_running()
    assert broker.cmdline()[-2] == "kafka.Kafka"
    return broker


def assert_ends(broker):
    assert psutil.wait_procs([broker], timeout=STOP_TIMEOUT_S)[1] == []


def test_a_parent_killed_by_force_leaves_no_broker_behind(parent):
    broker = broker_of(parent)
    parent.kill()
    assert_ends(broker)


def test_ctrl_c_in_the_terminal_stops_parent_and_broker(parent):
    broker = broker_of(parent)
    os.killpg(parent.pid, signal.SIGINT)
    parent.wait(STOP_TIMEOUT_S)
    assert not broker.is_running()


def test_topics_outlive_a_restart_and_a_taken_port_is_replaced(home):
    broker = EmbeddedBroker(Settings(home=home))
    with connected(broker.settings) as first:
        assert len(ensure_topics(first)) == len(TOPICS)
        assert broker.status()["stops_with_its_parent"]
    assert not broker.status()["running"]
    with socket.socket() as other:
        # Connections of the first run may linger on the port.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(first.kafka.bootstrap_servers.split(":")[1])))
        other.listen()
        with connected(broker.settings) as second:
            assert second.kafka.bootstrap_servers != first.kafka.bootstrap_servers
            assert ensure_topics(second) == []


def test_a_started_broker_runs_on_and_is_shared_until_stopped(home, capsys):
    flags = ["--json", "--home", str(home)]

    def run(action):
        code = broker_command.main([action, *flags])
        return code, json.loads(capsys.readouterr().out)

    assert run("status")[0] == 1
    _, started = run("start")
    assert started["running"]
    try:
        assert not started["stops_with_its_parent"]
        assert run("start")[1]["pid"] == started["pid"]
        with connected(Settings(home=home)) as settings:
            assert settings.kafka.bootstrap_servers == started["address"]
        code, status = run("status")
        assert (code, status["pid"]) == (0, started["pid"])
    finally:
        _, stopped = run("stop")
    assert not stopped["running"]
    assert not psutil.pid_exists(started["pid"]) or not EmbeddedBroker(Settings(home=home)).state.process()
    _, again = run("start")
    run("stop")
    assert again["address"] == started["address"]


def test_a_broker_that_cannot_start_shows_the_end_of_its_log(home):
    broker = EmbeddedBroker(Settings(home=home))
    broker.files.data.mkdir(parents=True)
    (broker.files.data / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=someone-elses\n")
    with pytest.raises(BrokerError, match=r"(?s)end of its log.*node") as failure:
        broker.start(guarded=True)
    assert "Kafka ended while starting" in str(failure.value)
    assert not broker.status()["running"]
