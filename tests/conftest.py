"""What tests share: settings with a home of their own, one embedded broker and one Spark session."""

import os
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from jobs.runtime.broker import EmbeddedBroker
from jobs.runtime.jars import KINDS, ensure_jars
from jobs.runtime.session import spark_session
from jobs.runtime.settings import Settings
from jobs.runtime.topics import delete_topics, ensure_topics

PROJECT = Path(__file__).resolve().parents[1]
_prefixes = count(1)


def pytest_collection_modifyitems(items):
    """Mark every test that uses the shared broker or the shared Spark session."""
    for item in items:
        used = getattr(item, "fixturenames", ())
        if "broker_settings" in used:
            item.add_marker("kafka")
        if "spark" in used:
            item.add_marker("spark")


@pytest.fixture(scope="session", autouse=True)
def _defaults_only():
    """Keep what the person running the tests has set out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TWEETOSCOPE")]:
            patch.delenv(name)
        patch.chdir(PROJECT)
        yield


def home_with_jars(folder):
    """Make a home folder that shares the jars `make setup` brought."""
    for kind in KINDS:
        ensure_jars(PROJECT / ".tweetoscope", kind)
    folder.mkdir(parents=True)
    (folder / "jars").symlink_to(PROJECT / ".tweetoscope" / "jars", target_is_directory=True)
    return folder


@pytest.fixture
def settings(tmp_path):
    """Settings at their defaults with an empty home; no broker, no jars."""
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def broker_settings(tmp_path_factory):
    """Settings connected to an embedded broker that runs as long as the tests."""
    home = home_with_jars(tmp_path_factory.mktemp("kafka") / "home")
    broker = EmbeddedBroker(Settings(home=home))
    broker.start(guarded=True)
    yield broker.connected_settings()
    broker.stop()


@contextmanager
def own_topics(broker_settings, home):
    """Give settings with a topic prefix, topics and a home that no other test has."""
    kafka = broker_settings.kafka.model_copy(update={"topic_prefix": f"test{next(_prefixes)}."})
    home.mkdir(exist_ok=True)
    (home / "jars").symlink_to(broker_settings.home / "jars", target_is_directory=True)
    own = broker_settings.model_copy(update={"kafka": kafka, "home": home})
    ensure_topics(own)
    yield own
    delete_topics(own)


@pytest.fixture
def kafka_settings(broker_settings, tmp_path):
    """Settings with a topic prefix, topics and a home of this test's own."""
    with own_topics(broker_settings, tmp_path / "home") as own:
        yield own


@pytest.fixture(scope="module")
def module_kafka_settings(broker_settings, tmp_path_factory):
    """The same, shared by the tests of a module that look at one run."""
    with own_topics(broker_settings, tmp_path_factory.mktemp("module") / "home") as own:
        yield own


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """The Spark session of all tests that need one: starting it takes 6 s."""
    settings = Settings(home=home_with_jars(tmp_path_factory.mktemp("spark") / "home"), spark={"ui_port": 0})
    with spark_session(settings, "tests") as session:
        yield session
