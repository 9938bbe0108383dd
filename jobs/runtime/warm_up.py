"""Compile the numeric kernels once, at set-up, so that no stream waits for it.

``python -m jobs.runtime.warm_up`` sends a few simulated cascades through the science exactly as the jobs do;
Numba keeps what it compiled beside the sources, or in ``NUMBA_CACHE_DIR``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from udfs.cascades.bucket import EVENTS, Bucket, from_ipc, one_batch
from udfs.cascades.outcome import serie_values
from udfs.cascades.rules import Rules
from udfs.cascades.series import read_series
from udfs.cascades.step import step
from udfs.cascades.tweets import Packer
from udfs.forest.alerts import alert_values
from udfs.forest.features import features
from udfs.forest.parameters import parameter_values, read_parameters
from udfs.forest.samples import Samples
from udfs.forest.train import TreeOptions, train
from udfs.hawkes.fit import fit_map
from udfs.hawkes.model import rescaled
from udfs.hawkes.simulate import simulate

#: Enough for a model with trees.
CASCADES = 40
WINDOW_S = 600


def warm_up() -> int:
    """Run the chain on simulated cascades; return how many predictions came out."""
    rules = Rules(windows_s=(float(WINDOW_S),))
    bucket, partials = Bucket.empty(), []
    for records in _micro_batches():
        packed = [row for batch in Packer(rules, 1, "tweets").pack(records) for row in batch.to_pylist()]
        events = one_batch(EVENTS, [from_ipc(row["events"], EVENTS) for row in packed])
        bucket = Bucket.from_bytes(bucket.to_bytes(len(rules.windows_s)))
        outcome = step(bucket, events, packed[0]["latest_s"], rules)
        partials.append(serie_values(outcome.windows))
    series, _ = read_series(pa.concat_arrays(partials), 1 << 24)
    fits = fit_map(series.history, series.window_s, rescaled())
    X = features(series.history, series.window_s, fits.beta, fits.n_star, fits.g1)
    described, _ = read_parameters(parameter_values(series, fits, X))
    n = described.n_obs.astype(np.float64)
    unknown = np.full(len(n), np.nan)
    samples = Samples(described.X, n, 2 * n, 2 * n, 2 * n, unknown, unknown)
    model = train(samples, WINDOW_S, TreeOptions(n_trees=2), seed=1)
    ids, _ = alert_values(described, lambda _window_s: ("0", model))
    return len(ids)


def _micro_batches() -> Iterator[pa.RecordBatch]:
    """Yield the records of simulated cascades in two batches, a tick at the end, as Kafka has them."""
    cascades = simulate(CASCADES, np.random.default_rng(1), horizon_s=3600.0)
    owner = np.repeat(np.arange(CASCADES), cascades.lengths)
    kind = np.where(np.diff(owner, prepend=-1) != 0, "tweet", "retweet")
    order = np.argsort(cascades.times_s, kind="stable")
    rows = zip(kind[order].tolist(), cascades.times_s[order].tolist(), strict=True)
    values = [b'{"type":"%s","t":%r,"m":7.0}' % (word.encode(), t) for word, t in rows]
    keys: list[bytes | None] = [b"warm-%d" % i for i in owner[order].tolist()]
    values.append(b'{"type":"tick","t":100000}')
    keys.append(None)
    half = len(keys) // 2
    for part in (slice(0, half), slice(half, None)):
        yield pa.RecordBatch.from_pydict(
            {
                "key": pa.array(keys[part], pa.binary()),
                "value": pa.array(values[part], pa.binary()),
                "partition": np.zeros(len(keys[part]), np.int32),
                "offset": np.arange(len(keys[part])),
            }
        )


if __name__ == "__main__":
    started_s = time.monotonic()
    sys.stderr.write("compiling the numeric kernels, about half a minute the first time\n")
    made = warm_up()
    sys.stderr.write(f"compiled in {time.monotonic() - started_s:.0f} s, {made} predictions made\n")
