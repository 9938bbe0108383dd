"""What the predictor's transforms compute; its join needs streams: see the chain's tests."""

from functools import partial

import numpy as np
import pytest
from chispa import assert_approx_df_equality
from pyspark.sql import functions as F

from jobs.runtime.model_watch import ModelChoice
from jobs.runtime.registry import Registry
from tests.spark.builders import records, sent_to
from tests.unit.forest.builders import some_samples, some_trees
from udfs.forest.features import FEATURES
from udfs.forest.ratios import Ratios
from udfs.forest.udf import correction_target, relative_error, score_cascades
from udfs.forest.window_model import WindowModel, predict
from udfs.hawkes import size

TOPICS = {name: f"prefix.{name}" for name in ("cascade_properties", "alerts", "dead_letters")}


def numbers(count=200):
    rng = np.random.default_rng(3)
    popularity = rng.integers(1, 5000, count)
    n_obs = np.ceil(popularity * rng.uniform(0.01, 1, count)).astype(int)
    g1 = rng.exponential(10, count) * (rng.random(count) > 0.2)
    g1[:3] = [0.0, size.LEAST_G1, size.LEAST_G1 / 2]
    return popularity, n_obs, g1, rng.uniform(0, 0.98, count), rng.exponential(500, count)


def frame(spark, columns, schema):
    return spark.createDataFrame(
        [tuple(row) for row in zip(*(c.tolist() for c in columns), strict=True)], schema
    )


def test_errors_and_targets_equal_those_of_numpy(spark):
    popularity, n_obs, g1, n_star, predicted = numbers()
    rows = frame(
        spark,
        (popularity, n_obs, g1, n_star, predicted),
        "popularity long, n_obs long, G1 double, n_star double, p double",
    )
    found = rows.select(
        "p",
        relative_error(F.col("p"), F.col("popularity")).alias("ARE"),
        correction_target(*(F.col(name) for name in ("popularity", "n_obs", "G1", "n_star"))).alias("W"),
    )
    are = size.absolute_relative_error(predicted, popularity)
    target = size.correction_target(popularity, n_obs, g1, n_star)
    expected = frame(spark, (predicted, are, target), "p double, ARE double, W double")
    assert_approx_df_equality(found, expected, precision=1e-9, ignore_nullable=True, ignore_row_order=True)


def parameters(cid, x, window_s=600, **fields):
    value = {"type": "parameters", "cid": cid, "msg": None, "T_obs": window_s, "t_root": 1.5, "n_obs": 20}
    value |= {"n_supp": 3.0, "params": [0.1, 0.2], "n_star": 0.5, "G1": 1.5, "fit": "converged"}
    return value | {"X": dict(zip(FEATURES, x.tolist(), strict=True))} | fields


def test_every_executor_answers_with_the_versions_of_the_choice(spark, tmp_path):
    registry = Registry(tmp_path)
    model = WindowModel(600, 120, Ratios.of(some_samples(120, 1).log_ratio, 600), some_trees(), 1.3)
    older = registry.publish(600, WindowModel(600, 0, Ratios.of(np.empty(0), 600), None, None))
    chosen = registry.publish(600, model)
    registry.publish(600, WindowModel(600, 0, Ratios.of(np.empty(0), 600), None, None))
    X = some_samples(30, 2).X
    values = [parameters(f"c{i}", X[i], 600 if i < 20 else 1200) for i in range(30)]
    choice = ModelChoice(tmp_path, {600: chosen.version})
    rows = score_cascades(records(spark, values).repartition(4), choice, TOPICS).collect()
    alerts = {alert["cid"]: alert for _, alert in sent_to(rows, "prefix.alerts")}
    assert len(rows) == len(alerts) == 30
    expected = predict(model, X[:20], np.full(20, 20))
    for i in range(20):
        alert = alerts[f"c{i}"]
        assert alert["model_version"] == chosen.version != older.version
        assert alert["n_tot"] == pytest.approx(expected.n_tot[i], rel=1e-12)
        assert alert["interval"] == pytest.approx([expected.lo[i], expected.hi[i]], rel=1e-12)
        assert (alert["n_tot_hawkes"], alert["t_root"]) == (23.0, 1.5)
    assert {alerts[f"c{i}"]["model_version"] for i in range(20, 30)} == {"0"}


def test_sizes_are_passed_over_and_bad_properties_become_letters(spark, tmp_path):
    x = np.ones(len(FEATURES))
    sound = {"type": "size", "cid": "s", "T_obs": 600, "t_root": 0, "n_tot": 12, "t_end": 5.0}
    make = partial(parameters, "bad", x)
    bad = [sound | {"n_tot": 0}, make(n_star=1.0), make(X={}), make(T_obs=-1), make(n_obs=2**70), b"{"]
    values = [parameters("good", x), sound, *bad, parameters("good too", x)]
    rows = score_cascades(records(spark, values), ModelChoice(tmp_path, {}), TOPICS).collect()
    assert [key for key, _ in sent_to(rows, "prefix.alerts")] == [b"good", b"good too"]
    assert sorted(letter["offset"] for _, letter in sent_to(rows, "prefix.dead_letters")) == [
        2,
        3,
        4,
        5,
        6,
        7,
    ]
