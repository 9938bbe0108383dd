"""Spark's state store of one bucket, as far as the collector uses it, without Spark."""

from __future__ import annotations

import copy

import pandas as pd

from udfs.cascades.operator import Collector

TOPICS = {name: name for name in ("tweets", "cascade_series", "cascade_properties", "dead_letters")}


class Store:
    """Committed state of one key, by name; a micro-batch sees what the one before has committed."""

    def __init__(self):
        self.committed = {}

    def micro_batch(self, rules, rows, *, n_buckets=1, commit=True):
        """Run the collector on packed rows, as a task does; return what it sends and counts, as rows."""
        handle = _Handle(copy.deepcopy(self.committed))
        collector = Collector(rules, n_buckets, TOPICS)
        collector.init(handle)
        parts = [pd.DataFrame(part) for part in (rows[:1], rows[1:]) if part]
        sent = [row for part in collector.handleInputRows((0, 0), iter(parts), None) for row in _rows(part)]
        if commit:
            self.committed = handle.state
        return sent

    @property
    def name(self):
        """The bucket's name, None before its first micro-batch."""
        return self.committed["head"][0] if self.committed else None


def _rows(part):
    return part.to_dict("records")


class _Handle:
    def __init__(self, state):
        self.state = state

    def getValueState(self, name, schema):
        return _Value(self.state, name)

    def getListState(self, name, schema):
        return _List(self.state, name)


class _Value:
    def __init__(self, state, name):
        self._state, self._name = state, name

    def get(self):
        return self._state.get(self._name)

    def update(self, value):
        assert isinstance(value, tuple)
        self._state[self._name] = value


class _List:
    def __init__(self, state, name):
        self._state, self._name = state, name

    def get(self):
        return iter(list(self._state.get(self._name, ())))

    def put(self, values):
        self._state[self._name] = list(values)

    def appendValue(self, value):
        self._state.setdefault(self._name, []).append(value)
