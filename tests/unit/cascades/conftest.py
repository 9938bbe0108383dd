import os

import pytest

from tests.unit.cascades.colliding import SEED
from udfs.cascades import table


@pytest.fixture
def one_seed(monkeypatch):
    """Give every table one seed, as if a sender had found it out."""
    drawn, urandom = [], os.urandom

    def draw(count):
        drawn.append(count)
        return int(SEED).to_bytes(8, "little") if count == 8 else urandom(count)

    monkeypatch.setattr(table.os, "urandom", draw)
    yield
    assert 8 in drawn
