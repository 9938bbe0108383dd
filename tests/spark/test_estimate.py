import numpy as np
import pytest

from jobs.estimate import described
from jobs.runtime.settings import Settings
from tests.spark.builders import records, sent_to
from udfs.forest.features import FEATURES
from udfs.hawkes.fit import fit_map
from udfs.hawkes.model import rescaled
from udfs.ragged import Ragged


def serie(cid, times_s, window_s=600, **fields):
    tweets = [[t, 100.0 + i] for i, t in enumerate(times_s)]
    value = {
        "type": "serie",
        "cid": cid,
        "msg": "text",
        "T_obs": window_s,
        "t_root": 5.5,
        "n_obs": len(tweets),
    }
    return value | {"truncated": False, "tweets": tweets} | fields


def times(seed, count=20):
    return [0.0, *np.sort(np.random.default_rng(seed).uniform(0, 600, count - 1)).tolist()]


def test_every_partial_is_described_by_its_own_fit(spark):
    settings = Settings()
    values = [serie(f"c{i}", times(i)) for i in range(50)]
    rows = described(records(spark, values).repartition(3), settings).collect()
    found = {value["cid"]: (key, value) for key, value in sent_to(rows, "cascade_properties")}
    assert len(rows) == len(found) == 50
    for value in values:
        key, parameters = found[value["cid"]]
        cascade = Ragged.from_lists(*[[list(column)] for column in zip(*value["tweets"], strict=True)])
        fit = fit_map(cascade, np.array([600.0]), rescaled(settings.hawkes.mark_scale))
        assert key.decode() == value["cid"]
        assert parameters["params"] == pytest.approx([fit.p[0], fit.beta[0]], rel=1e-9)
        assert parameters["G1"] == pytest.approx(fit.g1[0], rel=1e-9)
        assert (parameters["msg"], parameters["t_root"], parameters["n_obs"]) == ("text", 5.5, 20)
        assert list(parameters["X"]) == list(FEATURES)


def test_what_is_no_partial_becomes_a_letter_and_harms_no_neighbour(spark):
    bad = [b"no JSON", serie("", times(1)), serie("short", [1.0]), None]
    rows = described(records(spark, [serie("a", times(1)), *bad, serie("b", times(2))]), Settings()).collect()
    assert {value["cid"] for _, value in sent_to(rows, "cascade_properties")} == {"a", "b"}
    letters = sorted((v["offset"], v["reason"], v["topic"]) for _, v in sent_to(rows, "dead_letters"))
    assert letters == [
        (1, "bad_json", "cascade_series"),
        (2, "bad_field", "cascade_series"),
        (3, "bad_field", "cascade_series"),
        (4, "bad_json", "cascade_series"),
    ]


def test_rows_promise_topic_key_and_value(spark):
    found = described(records(spark, []), Settings())
    assert found.dtypes == [("topic", "string"), ("key", "binary"), ("value", "binary")]
    assert found.collect() == []
