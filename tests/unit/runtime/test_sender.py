import threading

import pytest

from jobs.runtime import sender as module
from jobs.runtime.knobs import Kafka
from jobs.runtime.sender import Sender


@pytest.fixture
def unreachable(settings):
    return settings.model_copy(update={"kafka": Kafka(bootstrap_servers="127.0.0.1:1")})


def test_a_full_buffer_waits_until_told_to_stop_and_what_waits_is_lost(unreachable, monkeypatch):
    monkeypatch.setattr(module, "STOP_FLUSH_S", 0.1)
    stop = threading.Event()

    def records():
        for number in range(200_000):
            if number == 100_000:
                threading.Timer(0.2, stop.set).start()
            yield b"key", b"value"

    sender = Sender(unreachable, "tweets", stop)
    assert sender.send(records()) == 100_000
    sender.flush()
    assert sender.lost == 100_000


def test_a_stopped_sender_with_nothing_to_send_ends_at_once(unreachable):
    stop = threading.Event()
    stop.set()
    sender = Sender(unreachable, "tweets", stop)
    sender.flush()
    assert sender.lost == 0
