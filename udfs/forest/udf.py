"""The predictor's and the learner's Spark adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from udfs.forest.alerts import Models, alert_values
from udfs.forest.parameters import read_parameters
from udfs.hawkes.size import LEAST_G1
from udfs.letters import letters_of_records
from udfs.outgoing import OUTGOING_SQL, outgoing


def score_cascades(properties: DataFrame, models: Models, topics: dict[str, str]) -> DataFrame:
    """Predict the final size of every described cascade among Kafka records of ``cascade_properties``.

    ``models`` is sent to the executors; ``topics`` names ``cascade_properties``, ``alerts`` and
    ``dead_letters``. Promises the columns of ``udfs.outgoing``.
    """

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for records in batches:
            cascades, rejected = read_parameters(records["value"])
            letters = letters_of_records(records, rejected, topics["cascade_properties"])
            sent = {
                topics["alerts"]: alert_values(cascades, models),
                topics["dead_letters"]: (letters["key"], letters["value"]),
            }
            yield outgoing(sent)

    records = properties.select("key", "value", "partition", "offset")
    return records.mapInArrow(score, OUTGOING_SQL)


def relative_error(predicted: Column, popularity: Column) -> Column:
    """Return the ARE, |predicted - N| / N; ``udfs.hawkes.size`` has it in numpy."""
    return F.abs(predicted - popularity) / popularity


def correction_target(popularity: Column, n_obs: Column, g1: Column, n_star: Column) -> Column:
    """Return W = (N - n_obs)(1 - n*) / G1, 1 where G1 vanishes; ``udfs.hawkes.size`` has it in numpy."""
    return F.when(g1 >= LEAST_G1, (popularity - n_obs) * (1 - n_star) / g1).otherwise(F.lit(1.0))
