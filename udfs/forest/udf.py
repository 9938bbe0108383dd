"""The predictor's and the learner's Spark adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from udfs.forest.alerts import Models, alert_values
from udfs.forest.features import FEATURES
from udfs.forest.learned import COLUMNS, read_samples
from udfs.forest.parameters import Parameters, parameter_values, read_parameters
from udfs.hawkes.model import HawkesModel
from udfs.hawkes.size import LEAST_G1
from udfs.hawkes.udf import described
from udfs.letters import letters_of_records
from udfs.outgoing import outgoing, outgoing_sql


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
    return records.mapInArrow(score, outgoing_sql())


def answer_partials(
    rows: DataFrame, model: HawkesModel, max_bytes: int, models: Models, topics: dict[str, str]
) -> DataFrame:
    """Pass on the rows that the collector sends; describe and predict each partial cascade among them.

    What ``describe_cascades`` and ``score_cascades`` do with Kafka between, in one pass. ``topics`` names
    ``cascade_series``, ``cascade_properties``, ``alerts`` and ``dead_letters``; a letter has no place in a
    topic yet, so its partition and offset are -1. Promises ``topic``, ``key`` and ``value``.
    """

    def answer(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for records in batches:
            yield records
            partials = records.filter(pc.equal(records["topic"], topics["cascade_series"]))
            if not partials.num_rows:
                continue
            read, fits, X, rejected = described(partials["value"], model, max_bytes)
            letters = letters_of_records(_without_place(partials), rejected, topics["cascade_series"])
            cascades = Parameters(
                read.cid,
                read.text,
                read.window_s,
                read.root_s,
                read.n_obs,
                fits.n_supp,
                fits.n_star,
                fits.g1,
                X,
            )
            yield outgoing(
                {
                    topics["cascade_properties"]: (read.cid, parameter_values(read, fits, X)),
                    topics["alerts"]: alert_values(cascades, models),
                    topics["dead_letters"]: (letters["key"], letters["value"]),
                }
            )

    return rows.select("topic", "key", "value").mapInArrow(answer, outgoing_sql())


def _without_place(records: pa.RecordBatch) -> pa.RecordBatch:
    nowhere = pa.array([-1] * records.num_rows, pa.int64())
    return records.append_column("partition", nowhere).append_column("offset", nowhere)


def typed_samples(samples: DataFrame) -> DataFrame:
    """Read Kafka records of ``samples``; promise the sound ones, repeats dropped, their place and features.

    Columns: partition, offset, timestamp, those of ``learned.COLUMNS`` and one per feature.
    """

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for records in batches:
            sound, places, _ = read_samples(records["value"])
            kept = [records[name].take(places) for name in place]
            yield pa.RecordBatch.from_arrays([*kept, *sound.columns], names=[*place, *sound.schema.names])

    place = ("partition", "offset", "timestamp")
    numbers = ", ".join(f"{name} double" for name in (*COLUMNS[1:], *FEATURES))
    schema = f"partition int, offset long, timestamp timestamp, cid string, {numbers}"
    return samples.select("value", *place).mapInArrow(read, schema).dropDuplicates(["cid", "T_obs", "t_root"])


def judged_samples(samples: DataFrame, topic: str) -> DataFrame:
    """Count the sound samples of each window among records of ``topic``; write letters for the rest.

    Promises ``T_obs`` and ``count`` of a window, or ``key`` and ``value`` of a letter.
    """

    def judge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for records in batches:
            sound, _, rejected = read_samples(records["value"])
            letters = letters_of_records(records, rejected, topic)
            counts = pa.table([sound["T_obs"]], ["T_obs"]).group_by("T_obs").aggregate([([], "count_all")])
            n, m = counts.num_rows, letters.num_rows
            yield pa.RecordBatch.from_pydict(
                {
                    "T_obs": pa.concat_arrays([*counts["T_obs"].chunks, pa.nulls(m, pa.float64())]),
                    "count": pa.concat_arrays([*counts["count_all"].chunks, pa.nulls(m, pa.int64())]),
                    "key": pa.concat_arrays([pa.nulls(n, pa.binary()), letters["key"]]),
                    "value": pa.concat_arrays([pa.nulls(n, pa.binary()), letters["value"]]),
                }
            )

    records = samples.select("key", "value", "partition", "offset")
    return records.mapInArrow(judge, "T_obs double, count long, key binary, value binary")


def relative_error(predicted: Column, popularity: Column) -> Column:
    """Return the ARE, |predicted - N| / N; ``udfs.hawkes.size`` has it in numpy."""
    return F.abs(predicted - popularity) / popularity


def correction_target(popularity: Column, n_obs: Column, g1: Column, n_star: Column) -> Column:
    """Return W = (N - n_obs)(1 - n*) / G1, 1 where G1 vanishes; ``udfs.hawkes.size`` has it in numpy."""
    return F.when(g1 >= LEAST_G1, (popularity - n_obs) * (1 - n_star) / g1).otherwise(F.lit(1.0))
