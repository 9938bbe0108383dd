import subprocess
import sys

import psutil
import pytest

from jobs.runtime.broker import BrokerError, EmbeddedBroker, connected
from jobs.runtime.broker_files import server_properties
from jobs.runtime.knobs import Broker, Kafka
from jobs.runtime.settings import Settings


@pytest.fixture
def bystander():
    """A process that is no broker of ours."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield psutil.Process(process.pid)
        process.kill()


@pytest.mark.parametrize("shift_s", [0, -3600])
def test_a_process_that_took_over_the_brokers_id_is_never_signalled(settings, bystander, shift_s):
    broker = EmbeddedBroker(settings)
    broker.files.folder.mkdir(parents=True)
    broker.state.write(pid=bystander.pid, created_s=bystander.create_time() + shift_s, port=1)
    assert broker.state.process() is None
    assert broker.stop() is False
    assert bystander.is_running()
    assert not broker.status()["running"]


def test_a_torn_state_file_means_no_broker(settings):
    broker = EmbeddedBroker(settings)
    broker.files.folder.mkdir(parents=True)
    broker.files.state.write_text('{"pid": 1')
    assert broker.state.process() is None
    assert broker.address == ""


def test_brokers_that_are_named_are_used_and_none_is_started(settings):
    named = settings.model_copy(update={"kafka": Kafka(bootstrap_servers="elsewhere:9092")})
    with connected(named) as given:
        assert given is named
    assert not settings.home.exists()
    with pytest.raises(BrokerError, match="elsewhere:9092"):
        EmbeddedBroker(named).start(guarded=False)


@pytest.mark.parametrize(
    "kafka", [Kafka(security_protocol="SASL_SSL"), Kafka(replication_factor=3)], ids=["security", "copies"]
)
def test_what_the_embedded_broker_cannot_do_is_refused(settings, kafka):
    with pytest.raises(BrokerError, match=r"kafka\.bootstrap_servers"):
        EmbeddedBroker(settings.model_copy(update={"kafka": kafka})).start(guarded=True)


def test_a_home_kafka_cannot_write_to_is_refused(tmp_path):
    with pytest.raises(BrokerError, match="choose a home"):
        EmbeddedBroker(Settings(home=tmp_path / "a,b", broker=Broker())).start(guarded=True)


def test_the_broker_listens_on_this_machine_only_and_lets_the_largest_partial_pass(settings):
    text = server_properties(settings, EmbeddedBroker(settings).files, 1111, 2222)
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert values["listeners"] == "PLAINTEXT://127.0.0.1:1111,CONTROLLER://127.0.0.1:2222"
    assert int(values["socket.request.max.bytes"]) > int(values["message.max.bytes"]) > 4_000_000
