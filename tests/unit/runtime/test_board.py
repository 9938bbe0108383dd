import io

from rich.console import Console

from jobs.runtime.board import BoardState, plain_text, render, summary_line
from jobs.runtime.hottest import Post
from jobs.runtime.scores import Scores
from tests.unit.runtime.builders import alert, stat


def drawn(state, rows=20):
    console = Console(record=True, width=120, file=io.StringIO(), force_terminal=True)
    console.print(render(state, rows))
    return console.export_text()


def test_board_shows_prediction_interval_window_and_version():
    state = BoardState(
        posts=[Post(alert("post-7", 512, 1200, interval=(300.2, 900.7), calibrated=True, n_obs=41), 0.0)],
        alerts=12,
        alerts_per_s=3.0,
        lag=4,
        notes=["replaying x.csv"],
    )
    text = drawn(state)
    row = next(line for line in text.splitlines() if "post-7" in line)
    assert [part.strip() for part in row.split("│")[2:-2]] == [
        "post-7",
        "41",
        "512",
        "300 … 901",
        "1200 s",
        "v1",
    ]
    assert "12 predictions (3.0/s), lag 4" in text
    assert "replaying x.csv" in text


def test_uncalibrated_interval_is_marked():
    assert "1 … 2 ?" in drawn(BoardState(posts=[Post(alert(interval=(1.0, 2.0)), 0.0)]))


def test_errors_stand_by_window_and_method():
    scores = Scores([600])
    for error in (0.125, 0.25, 0.75):
        scores.add(stat(error, hawkes_error=4.0))
    errors = {(600, stage): scores.summary(600, stage) for stage in ("model", "hawkes", "kn")}
    text = drawn(BoardState(errors=errors))
    row = next(line for line in text.splitlines() if "600 s" in line)
    assert "0.250 (0.375)" in row
    assert "4.000 (4)" in row
    assert "–" in row
    assert "median error at 600 s 0.25 of 3" in summary_line(BoardState(errors=errors))


def test_what_strangers_wrote_is_neither_markup_nor_control():
    hostile = "[bold red]x[/] \x1b]0;title\x07 \u202eevil\r\n[link=file:///]"
    text = drawn(BoardState(posts=[Post(alert("[blink]id", msg=hostile), 0.0)], notes=["[bold]note"]))
    assert "[blink]id  [bold red]x[/]" in text
    assert "[bold]note" in text
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(text)


def test_no_more_rows_than_fit():
    posts = [Post(alert(f"post-{number:02}"), 0.0) for number in range(20)]
    text = drawn(BoardState(posts=posts), rows=3)
    assert "post-02" in text
    assert "post-03" not in text


def test_wide_and_empty_texts_are_drawn():
    assert "あ" in drawn(BoardState(posts=[Post(alert("c", msg="あ" * 200), 0.0)]))
    assert "No popular post yet" in drawn(BoardState())


def test_long_text_is_cut():
    assert len(plain_text("x" * 10_000)) == 60
