"""What the summary of a demo claims, and when it does not."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from rich.console import Console

from jobs.runtime.scores import Summary as Errors
from jobs.runtime.summary import Summary, render


def errors(late_mean, count=300):
    return Errors(count, late_mean, late_mean, 0.5, 0.5, late_mean, late_mean)


def summary(**changes):
    plain = Summary(
        complete=True,
        seconds=100.0,
        first_prediction_s=30.0,
        events=100,
        cascades=5,
        in_cascades=90,
        in_cascades_late=2,
        orphans=4,
        late=3,
        repeated_roots=2,
        malformed=1,
        waiting=0,
        partials=8,
        predictions=8,
        popular=1,
        stats=7,
        models={600: ["1-aaaaaaaa"]},
        errors={600: {"model": errors(0.2), "hawkes": errors(0.9), "kn": errors(0.3)}},
    )
    return dataclasses.replace(plain, **changes)


def drawn(found):
    console = Console(record=True, width=120)
    console.print(render(found))
    return console.export_text()


def test_a_run_is_sound_when_every_event_and_partial_is_accounted_for():
    assert summary().sound
    assert "All 100 events are accounted for" in drawn(summary())


@pytest.mark.parametrize("change", [{"events": 101}, {"in_cascades": 89}, {"predictions": 7}])
def test_a_missing_event_or_prediction_is_told(change):
    assert not summary(**change).sound
    assert "NOT SOUND" in drawn(summary(**change))


def test_an_event_that_waits_is_accounted_for():
    assert summary(events=102, waiting=2).sound


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        ({"model": 0.2, "hawkes": 0.9, "kn": 0.2}, True),
        ({"model": 0.31, "hawkes": 0.9, "kn": 0.3}, False),
        ({"model": 0.2, "hawkes": 0.2, "kn": 0.3}, False),
    ],
)
def test_learning_means_below_hawkes_and_not_above_kn(late, expected):
    found = summary(errors={600: {stage: errors(mean) for stage, mean in late.items()}})
    assert found.learned(600) is expected


def test_nothing_is_claimed_of_few_errors():
    few = {stage: errors(0.2, count=80) for stage in ("model", "hawkes", "kn")}
    assert summary(errors={600: few}).learned(600) is None


def test_a_run_that_was_stopped_claims_no_accounts():
    text = drawn(summary(complete=False, in_cascades=10))
    assert "Stopped early" in text
    assert "NOT SOUND" not in text


def test_json_has_no_figure_that_is_no_number():
    none = {stage: errors(math.nan, count=0) for stage in ("model", "hawkes", "kn")}
    plain = json.loads(json.dumps(summary(errors={600: none}).to_dict(), allow_nan=False))
    assert plain["errors"]["600"]["model"]["late_mean"] is None
    assert plain["learned"] == {"600": None}
    assert plain["models"] == {"600": ["1-aaaaaaaa"]}
