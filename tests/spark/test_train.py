import json
from collections import Counter

import numpy as np
import pytest
from chispa import assert_df_equality

from jobs.runtime.model_watch import registry_of
from jobs.runtime.settings import Settings
from jobs.train import Schedule, refit
from tests.spark.builders import records
from tests.unit.forest.builders import some_samples
from udfs.forest.features import FEATURES
from udfs.forest.learned import samples_of
from udfs.forest.train import TreeOptions
from udfs.forest.udf import judged_samples, typed_samples


def sample(cid, window_s=600, t_root=0.0, x=1.0, **fields):
    value = {"type": "sample", "cid": cid, "T_obs": window_s, "t_root": t_root, "n_obs": 20, "n_tot": 50}
    value |= {"n_tot_predicted": 60.0, "n_tot_hawkes": 70.0, "model_version": "0", "W": 1.0}
    return value | {"X": dict.fromkeys(FEATURES, x)} | fields


def test_repeats_are_dropped_by_what_identifies_a_prediction(spark):
    values = [sample("a"), sample("b"), sample("a"), sample("a", 1200), sample("a", t_root=9.5), sample("b")]
    found = typed_samples(records(spark, values)).select("T_obs", "n_obs", "n_tot")
    expected = spark.createDataFrame(
        [(600.0, 20.0, 50.0)] * 3 + [(1200.0, 20.0, 50.0)], "T_obs double, n_obs double, n_tot double"
    )
    assert_df_equality(found, expected, ignore_row_order=True, ignore_nullable=True)


UNSOUND = {
    "no JSON": b"{",
    "tombstone": None,
    "another type": sample("a", type="stat"),
    "no size": sample("a", n_tot=None),
    "size 0": sample("a", n_tot=0),
    "nothing seen": sample("a", n_obs=0),
    "no window": sample("a", window_s=None),
    "window 0": sample("a", window_s=0),
    "a feature absent": sample("a", X=dict.fromkeys(FEATURES[1:], 1.0)),
    "a feature null": sample("a", X=dict.fromkeys(FEATURES, 1.0) | {FEATURES[3]: None}),
    "a feature NaN": sample("a", X=dict.fromkeys(FEATURES, 1.0) | {FEATURES[3]: "NaN"}),
    "a feature infinite": sample("a", X=dict.fromkeys(FEATURES, 1.0) | {FEATURES[3]: "Infinity"}),
    "an infinite size": sample("a", n_tot="Infinity"),
    "a prediction that is NaN": sample("a", n_tot_predicted="NaN"),
    "features as a list": sample("a", X=[1.0]),
}


def test_unsound_samples_are_left_out(spark):
    names = list(UNSOUND)
    values = [value for name in names for value in (UNSOUND[name], sample(f"good {name}"))]
    found = [row["offset"] for row in typed_samples(records(spark, values)).select("offset").collect()]
    wrong = [names[offset // 2] for offset in found if offset % 2 == 0]
    assert wrong == []
    assert len(found) == len(UNSOUND)


def test_unsound_samples_become_letters_and_the_others_are_counted(spark):
    values = [*UNSOUND.values(), *(sample(f"c{i}", 600 if i < 7 else 1200) for i in range(10))]
    rows = judged_samples(records(spark, values).repartition(3), "samples").collect()
    letters = [json.loads(row["value"]) for row in rows if row["value"] is not None]
    assert sorted(letter["offset"] for letter in letters) == list(range(len(UNSOUND)))
    assert {letter["reason"] for letter in letters} == {"bad_json", "bad_field"}
    counts = Counter()
    for row in rows:
        counts[row["T_obs"]] += row["count"] or 0
    assert {window: count for window, count in counts.items() if window} == {600: 7, 1200: 3}


def test_rows_become_samples_in_the_order_they_were_written(spark):
    values = [sample(f"c{i}", x=float(i), mid=0.5 if i % 2 else None, half=None) for i in range(20)]
    rows = typed_samples(records(spark, values).repartition(5)).orderBy("timestamp", "partition", "offset")
    samples = samples_of(rows.toPandas())
    np.testing.assert_array_equal(samples.X[:, 0], np.arange(20.0))
    assert np.isnan(samples.half).all()
    np.testing.assert_array_equal(np.isnan(samples.mid), np.arange(20) % 2 == 0)


def test_only_due_windows_with_enough_samples_are_refitted(spark, tmp_path):
    settings = Settings(home=tmp_path)
    known = some_samples(40, 1)
    rows = []
    for window_s, count in ((600, 40), (1200, 15), (900, 40)):
        for i in range(count):
            x = dict(zip(FEATURES, known.X[i].tolist(), strict=True))
            answer = {"n_obs": known.n_obs[i], "n_tot": known.popularity[i]}
            rows.append(sample(f"c{i}", window_s, X=x, **answer))
    options = TreeOptions(n_trees=5)
    manifests = refit(typed_samples(records(spark, rows)), settings, {600: options, 1200: options})
    assert [(m.window_s, m.n_samples, m.options) for m in manifests] == [(600, 40, options)]
    assert registry_of(settings).newest(600) == manifests[0]
    assert registry_of(settings).newest(1200) is registry_of(settings).newest(900) is None


@pytest.fixture
def schedule(settings):
    return Schedule(settings)


def test_a_window_is_due_after_sixteen_samples_of_its_own(schedule):
    schedule.add({600: 15, 1200: 3})
    assert schedule.due() == {}
    schedule.add({600: 1})
    assert schedule.due() == {600: TreeOptions()}
    assert schedule.due() == {}
    schedule.add({600: 15, 1200: 13})
    assert list(schedule.due()) == [1200]


def test_a_window_is_tuned_after_256_samples_and_keeps_what_was_found(schedule):
    due = []
    for _ in range(32):
        schedule.add({600: 16})
        due.append(schedule.due()[600])
    tunings = [number for number, options in enumerate(due, 1) if options is None]
    assert tunings == [16, 32]
    found = TreeOptions(n_trees=7)
    schedule.options[600] = found
    schedule.add({600: 16})
    assert schedule.due() == {600: found}


def test_after_a_fit_the_learner_rests_three_times_as_long(schedule, monkeypatch):
    clock = 100.0
    monkeypatch.setattr("jobs.train.time.monotonic", lambda: clock)
    schedule.fitted([], seconds=2.0)
    schedule.add({600: 300})
    clock = 105.9
    assert schedule.due() == {}
    clock = 106.1
    assert schedule.due() == {600: None}


def test_a_window_that_is_not_watched_is_never_due(schedule):
    schedule.add({900: 1000})
    assert schedule.due() == {}
