"""All services in one session on simulated cascades: what one sends, the next uses, each once."""

from __future__ import annotations

import json
import shutil
import threading
import zipfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pytest

from jobs import collect, estimate, predict, train
from jobs.generate import generate, load_cascades
from jobs.runtime.knobs import Generator
from jobs.runtime.model_watch import ModelWatch, registry_of
from jobs.runtime.progress import Progress
from jobs.runtime.settings import Settings
from jobs.runtime.topics import (
    ALERTS,
    CASCADE_PROPERTIES,
    CASCADE_SERIES,
    DEAD_LETTERS,
    MODELS,
    SAMPLES,
    STATS,
    topic_name,
)
from tests.kafka.records import read, run_to_end, running, send, values, with_batches
from udfs.forest.features import FEATURES
from udfs.hawkes.size import correction_target

WINDOWS_S = (600, 1200)
PARAMETERS = {"type": "parameters", "cid": "x", "msg": None, "T_obs": 600, "t_root": 0, "n_obs": 20}
PARAMETERS |= {"n_supp": 3.0, "params": [1, 2], "n_star": 0.5, "G1": 1.5, "fit": "ok"}
PARAMETERS["X"] = dict.fromkeys(FEATURES, 1.0)
SERIE = {"type": "serie", "cid": "x", "msg": None, "T_obs": 600, "t_root": 0, "n_obs": 2, "truncated": False}
SERIE["tweets"] = [[0, 1], [1.5, 2]]
SIZE = {"type": "size", "cid": "x", "T_obs": 600, "t_root": 0, "n_tot": 5, "t_end": 3.0}
BAD_SERIES = [b"no JSON", json.dumps(PARAMETERS).encode()] + [
    json.dumps(SERIE | change).encode()
    for change in (
        {"cid": ""},
        {"cid": "x" * 100_000},
        {"T_obs": -600},
        {"T_obs": 0.5},
        {"n_obs": 10**30},
        {"tweets": []},
        {"tweets": [None]},
        {"tweets": [[0, 1], [700, 1]]},
        {"tweets": [[0, 1], [5, 1], [4, 1]]},
        {"tweets": [[0, 1, 2]]},
        {"tweets": [[0, -1]]},
    )
]
BAD_PROPERTIES = [b"[1, 2]", b"no JSON", json.dumps(SERIE).encode()] + [
    json.dumps(good | change).encode()
    for good, change in (
        (PARAMETERS, {"T_obs": 0}),
        (PARAMETERS, {"T_obs": 1e300}),
        (PARAMETERS, {"cid": "x" * 100_000}),
        (PARAMETERS, {"n_obs": 10**30}),
        (PARAMETERS, {"n_obs": 0}),
        (PARAMETERS, {"n_star": 1.5}),
        (PARAMETERS, {"X": {"log_n": 1.0}}),
        (PARAMETERS, {"X": PARAMETERS["X"] | {FEATURES[0]: None}}),
        (SIZE, {"n_tot": 0}),
        (SIZE, {"n_tot": 10**30}),
        (SIZE, {"t_end": None}),
        (SIZE, {"T_obs": "600"}),
    )
]


def identity(value):
    return value["cid"], value["T_obs"], value["t_root"]


def raw(settings, topic, kind):
    """Keys and values of one type, as they were sent."""
    records = [(record.key(), record.value()) for record in read(settings, topic)]
    return [(key, value) for key, value in records if f'"type":"{kind}"'.encode() in value]


def alert_of(settings, queries, cid):
    """Describe one more cascade while the queries run; return the prediction that it gets."""
    probe = json.dumps(PARAMETERS | {"cid": cid}).encode()
    send(settings, CASCADE_PROPERTIES, [(cid.encode(), probe)])
    queries[0].processAllAvailable()
    [alert] = [alert for alert in values(settings, ALERTS) if alert["cid"] == cid]
    return alert


def announce_damaged_model(settings):
    """Announce a copy of the newest model in which one bit is another."""
    newest = registry_of(settings).newest(600)
    sequence, _, digest = newest.version.partition("-")
    version = f"{int(sequence) + 1}-{digest}"
    window = next(path for path in registry_of(settings).folder.rglob(newest.version)).parent
    shutil.copytree(window / newest.version, window / version)
    manifest = newest.model_copy(update={"version": version}).model_dump_json().encode()
    (window / version / "manifest.json").write_bytes(manifest)
    model = bytearray((window / version / "model.npz").read_bytes())
    model[len(model) // 2] ^= 1
    (window / version / "model.npz").write_bytes(model)
    send(settings, MODELS, [(b"600", manifest)])
    return version


@dataclass
class Run:
    settings: Settings
    before_training: dict
    after_training: dict
    after_damage: dict
    damaged_version: str


@pytest.fixture(scope="module")
def run(spark, module_kafka_settings):
    """The chain, service after service; sizes are sent twice before their predictions, and all once more."""
    settings = with_batches(module_kafka_settings, 20_000)
    knobs = Generator(acceleration=0, cascades=120, horizon_s=21_600, seed=7)
    settings = settings.model_copy(update={"generator": knobs})
    generate(settings, load_cascades(settings, []), threading.Event())
    run_to_end(collect.start(spark, settings))
    send(settings, CASCADE_SERIES, [(b"bad", value) for value in BAD_SERIES])
    run_to_end(estimate.start(spark, settings))
    send(settings, CASCADE_PROPERTIES, raw(settings, CASCADE_PROPERTIES, "size"))
    send(settings, CASCADE_PROPERTIES, [(b"bad", value) for value in BAD_PROPERTIES])
    # A prediction for the size of nothing, and one that is no number: a join must outlive them.
    odd = {
        "type": "alert",
        "cid": "x",
        "T_obs": 600,
        "t_root": 0,
        "n_tot": 9.0,
        "n_obs": 5,
        "n_tot_kn": "NaN",
    }
    send(settings, ALERTS, [(b"x", json.dumps(odd | change).encode()) for change in ({}, {"n_tot": "NaN"})])
    with closing(ModelWatch(settings)) as watch, running(predict.start(spark, settings, watch)) as queries:
        for query in queries:
            query.processAllAvailable()
        send(settings, ALERTS, raw(settings, ALERTS, "alert"))
        send(settings, CASCADE_PROPERTIES, raw(settings, CASCADE_PROPERTIES, "size"))
        queries[1].processAllAvailable()
        before = alert_of(settings, queries, "probe before")
        run_to_end(train.start(spark, settings, Progress()))
        after = alert_of(settings, queries, "probe after")
        damaged = announce_damaged_model(settings)
        last = alert_of(settings, queries, "probe last")
        assert [query.exception() for query in queries] == [None, None]
    return Run(settings, before, after, last, damaged)


@pytest.fixture(scope="module")
def partials(run):
    """Identities of the partials; bad values aside."""
    found = []
    for record in read(run.settings, CASCADE_SERIES):
        if record.value() not in BAD_SERIES:
            found.append(identity(json.loads(record.value())))
    assert len(found) == len(set(found)) > 150
    return found


@pytest.fixture(scope="module")
def alerts(run):
    """Predictions of the simulated cascades by identity; a repeat says the same."""
    found = {}
    for alert in values(run.settings, ALERTS):
        if alert["cid"].startswith("sim-"):
            assert found.setdefault(identity(alert), alert) == alert
    return found


@pytest.fixture(scope="module")
def sizes(run):
    records = raw(run.settings, CASCADE_PROPERTIES, "size")
    sizes = [json.loads(value) for _, value in records if value not in BAD_PROPERTIES]
    assert set(Counter(map(identity, sizes)).values()) == {4}, "each size was sent four times"
    return {identity(size): size["n_tot"] for size in sizes}


def test_every_partial_gets_one_description_and_one_prediction(run, partials, alerts):
    described = [json.loads(value) for _, value in raw(run.settings, CASCADE_PROPERTIES, "parameters")]
    own = Counter(identity(value) for value in described if value["cid"].startswith("sim-"))
    assert own == Counter(partials)
    sent = Counter(identity(v) for v in values(run.settings, ALERTS) if v["cid"].startswith("sim-"))
    assert sent == Counter(partials * 2), "once by the job, once more by this test"
    assert set(alerts) == set(partials)


@pytest.mark.parametrize(("topic", "kind"), [(STATS, "stat"), (SAMPLES, "sample")], ids=["stats", "samples"])
def test_repeats_give_one_stat_and_one_sample(run, partials, topic, kind):
    found = values(run.settings, topic)
    assert {value["type"] for value in found} == {kind}
    assert Counter(map(identity, found)) == Counter(partials)


def test_errors_are_of_the_very_prediction(run, alerts, sizes):
    for stat in values(run.settings, STATS):
        alert, size = alerts[identity(stat)], sizes[identity(stat)]
        assert (stat["n_tot"], stat["n_tot_predicted"]) == (size, alert["n_tot"])
        assert stat["model_version"] == alert["model_version"]
        for error, answer in (("ARE", "n_tot"), ("ARE_hawkes", "n_tot_hawkes"), ("ARE_kn", "n_tot_kn")):
            assert stat[error] == pytest.approx(abs(alert[answer] - size) / size, rel=1e-12)


def test_samples_hold_what_the_prediction_knew_and_the_answer(run, alerts, sizes):
    for sample in values(run.settings, SAMPLES):
        alert, size = alerts[identity(sample)], sizes[identity(sample)]
        assert sample["X"] == alert["X"]
        assert list(sample["X"]) == list(FEATURES)
        assert (sample["n_obs"], sample["n_tot"]) == (alert["n_obs"], size)
        expected = correction_target(size, alert["n_obs"], alert["G1"], alert["n_star"])
        assert sample["W"] == pytest.approx(float(expected), rel=1e-12)


def test_a_new_model_answers_without_a_restart(run):
    announced = [value for value in values(run.settings, MODELS) if value["window_s"] == 600]
    assert run.before_training["model_version"] == "0"
    assert run.after_training["model_version"] == announced[0]["version"]
    assert run.after_training["n_tot"] != run.before_training["n_tot"]
    assert {value["window_s"] for value in values(run.settings, MODELS)} == set(WINDOWS_S)


def test_a_damaged_model_is_refused_and_the_last_good_serves_on(run):
    assert run.damaged_version != run.after_training["model_version"]
    assert run.after_damage["model_version"] == run.after_training["model_version"]
    assert run.after_damage["n_tot"] == run.after_training["n_tot"]


def test_model_files_are_numbers_and_no_pickle(run):
    folder = registry_of(run.settings).folder
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"model.npz", "manifest.json"}
    for window_s in WINDOWS_S:
        [path] = folder.rglob(f"{registry_of(run.settings).newest(window_s).version}/model.npz")
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays.files
            assert not any(arrays[name].dtype.hasobject for name in arrays.files)
        with zipfile.ZipFile(path) as archive:
            assert all(archive.read(name).startswith(b"\x93NUMPY") for name in archive.namelist())


@pytest.mark.parametrize(
    ("topic", "bad"),
    [(CASCADE_SERIES, BAD_SERIES), (CASCADE_PROPERTIES, BAD_PROPERTIES)],
    ids=["series", "properties"],
)
def test_bad_values_become_dead_letters(run, topic, bad):
    name = topic_name(run.settings, topic)
    letters = [letter for letter in values(run.settings, DEAD_LETTERS) if letter["topic"] == name]
    places = {(record.partition(), record.offset()): record.value() for record in read(run.settings, topic)}
    named = [places[letter["partition"], letter["offset"]] for letter in letters]
    assert sorted(named) == sorted(bad)
    assert {letter["reason"] for letter in letters} == {"bad_json", "bad_field"}
