"""Small cascades, predictions and errors for tests of the plain processes."""

from jobs.runtime.messages import Alert, Stat
from jobs.runtime.sources.cascades import Cascades
from udfs.ragged import Ragged


def cascades_of(*times_s, marks=None, ids=None, texts=None):
    """Build cascades from the times of each; marks are 1 unless given."""
    times_s = [list(map(float, times)) for times in times_s]
    marks = marks or [[1.0] * len(times) for times in times_s]
    ids = ids or [f"c{number}" for number in range(len(times_s))]
    return Cascades(ids, texts or [None] * len(ids), Ragged.from_lists(times_s, marks))


def alert(cid="a", popularity=500.0, window_s=600, **fields):
    values = {"n_tot": popularity - 50, "n_tot_median": popularity, "n_obs": 40, "model_version": "v1"}
    return Alert("alert", cid, window_s, **(values | fields))


def stat(error, cid="a", window_s=600, **fields):
    return Stat("stat", cid, window_s, error, **fields)
