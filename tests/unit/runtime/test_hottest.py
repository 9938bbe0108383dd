from jobs.runtime.hottest import KEPT_PER_SHOWN, Hottest
from jobs.runtime.knobs import Alerts
from tests.unit.runtime.builders import alert


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def hottest(clock=None, **knobs):
    return Hottest(Alerts(**({"hottest": 2, "threshold": 200, "expire_s": 100} | knobs)), clock or Clock())


def shown(board):
    return [(post.alert.cid, post.alert.window_s) for post in board.top()]


def test_the_hottest_come_first_and_no_more_than_asked():
    board = hottest()
    for cid, popularity in (("a", 300), ("b", 900), ("c", 500)):
        assert board.add(alert(cid, popularity))
    assert shown(board) == [("b", 600), ("c", 600)]


def test_the_threshold_is_held_against_the_median_and_must_be_passed():
    board = hottest()
    assert not board.add(alert("a", 200, n_tot=900))
    assert board.add(alert("b", 1.0, n_tot=201, n_tot_median=None))
    assert shown(board) == [("b", 600)]


def test_a_post_expires_after_its_last_prediction():
    clock = Clock()
    board = hottest(clock)
    board.add(alert("a", 300))
    board.add(alert("b", 900))
    clock.now_s = 60
    board.add(alert("a", 300, 1200))
    clock.now_s = 100
    assert shown(board) == [("a", 1200)]
    clock.now_s = 160
    assert shown(board) == []
    assert len(board) == 0


def test_the_largest_window_decides_whatever_the_order():
    board = hottest()
    board.add(alert("a", 300, 1200))
    board.add(alert("a", 900, 600))
    assert [post.alert.popularity for post in board.top()] == [300]


def test_a_larger_window_takes_a_post_off():
    board = hottest()
    board.add(alert("a", 300, 600))
    assert not board.add(alert("a", 150, 1200))
    assert shown(board) == []


def test_memory_is_bounded_and_keeps_the_hottest():
    board = hottest()
    for number in range(1000):
        board.add(alert(f"c{number}", 201 + (number * 7919) % 1000))
    assert len(board) == 2 * KEPT_PER_SHOWN
    assert [post.alert.popularity for post in board.top()] == [1200, 1199]


def test_a_post_that_expires_has_a_successor():
    clock = Clock()
    board = hottest(clock, hottest=1)
    board.add(alert("a", 900))
    clock.now_s = 50
    board.add(alert("b", 300))
    clock.now_s = 100
    assert shown(board) == [("b", 600)]
