"""The estimator's Spark adapter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from udfs.cascades.series import Series, read_series
from udfs.forest.features import features
from udfs.forest.parameters import parameter_values
from udfs.hawkes.fit import STATUSES, Fits, fit_map
from udfs.hawkes.model import HawkesModel
from udfs.json_rows import Rejected
from udfs.letters import letters_of_records
from udfs.outgoing import outgoing, outgoing_sql
from udfs.ragged import Floats

#: What the query counts: cascades described, and among them each outcome of the fit.
COUNTERS = ("described", *(f"fit_{status}" for status in STATUSES))


def describe_cascades(
    series: DataFrame, model: HawkesModel, max_bytes: int, topics: dict[str, str]
) -> DataFrame:
    """Fit and describe every partial cascade of a Kafka source.

    ``max_bytes`` is the longest value read; ``topics`` names ``cascade_series``, ``cascade_properties`` and
    ``dead_letters``. Promises the columns of ``udfs.outgoing`` with ``COUNTERS``.
    """

    def describe(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for records in batches:
            read, fits, X, rejected = described(records["value"], model, max_bytes)
            letters = letters_of_records(records, rejected, topics["cascade_series"])
            yield outgoing(
                {
                    topics["cascade_properties"]: (read.cid, parameter_values(read, fits, X)),
                    topics["dead_letters"]: (letters["key"], letters["value"]),
                },
                dict(
                    zip(
                        COUNTERS, [len(read), *np.bincount(fits.status, minlength=len(STATUSES))], strict=True
                    )
                ),
            )

    records = series.select("key", "value", "partition", "offset")
    return records.mapInArrow(describe, outgoing_sql(COUNTERS))


def described(
    values: pa.BinaryArray, model: HawkesModel, max_bytes: int
) -> tuple[Series, Fits, Floats, Rejected]:
    """Read k partial cascades; return them, their fits, their features of shape (k, 22), and the refused."""
    read, rejected = read_series(values, max_bytes)
    fits = fit_map(read.history, read.window_s, model)
    return read, fits, features(read.history, read.window_s, fits.beta, fits.n_star, fits.g1), rejected
