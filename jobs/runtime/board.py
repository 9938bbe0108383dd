"""The live board: what a terminal shows of a running Tweetoscope."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jobs.runtime.hottest import Post
from jobs.runtime.scores import STAGES, Summary

#: Characters shown of an id and of a text.
MAX_SHOWN = 60
HEADINGS = {"model": "model", "hawkes": "Hawkes alone", "kn": "k·n"}


@dataclass(frozen=True)
class BoardState:
    """All that the board shows, as plain values."""

    posts: Sequence[Post] = ()
    errors: dict[tuple[int, str], Summary] = field(default_factory=dict)
    """By window (s) and stage."""
    alerts: int = 0
    alerts_per_s: float = 0.0
    lag: int = 0
    """Records that wait to be read."""
    repeats: int = 0
    dead_letters: int = 0
    notes: Sequence[str] = ()
    """Lines of whoever runs the board, above the rest."""


def render(state: BoardState, rows: int = 20) -> RenderableType:
    """Draw the board with at most ``rows`` posts."""
    notes = [Text(plain_text(note, 200)) for note in state.notes]
    return Panel(
        Group(*notes, Text(", ".join(_counts(state))), _posts(state.posts[:rows]), _errors(state)),
        title="Tweetoscope",
    )


def summary_line(state: BoardState) -> str:
    """Return the counts, the rate and the hottest post in one line, for a log or a pipe.

    >>> summary_line(BoardState(alerts=7, alerts_per_s=0.5, lag=3))
    '7 predictions (0.5/s), lag 3'
    """
    parts = _counts(state)
    if state.posts:
        hottest = state.posts[0].alert
        parts.append(f"hottest {plain_text(hottest.cid)} at {hottest.popularity:.0f}")
    for (window_s, stage), summary in state.errors.items():
        if stage == "model" and summary.count:
            parts.append(f"median error at {window_s} s {summary.median:.2f} of {summary.count}")
    return ", ".join(parts)


def _counts(state: BoardState) -> list[str]:
    parts = [f"{state.alerts} predictions ({state.alerts_per_s:.1f}/s)", f"lag {state.lag}"]
    if state.repeats:
        parts.append(f"{state.repeats} repeats dropped")
    if state.dead_letters:
        parts.append(f"{state.dead_letters} dead letters")
    return parts


def plain_text(text: str, most: int = MAX_SHOWN) -> str:
    r"""Make what a stranger wrote harmless for a terminal: no controls, no bidirectional marks, not too long.

    >>> plain_text("a\x1b[31mb\u202ec\nd"), plain_text("abcdef", 4)
    ('a [31mb c d', 'abc…')
    """
    # Category C: controls, formats (bidirectional marks among them), surrogates; Zl and Zp end lines.
    start = text[: 4 * most]
    harmless = "".join(
        " " if unicodedata.category(sign)[0] == "C" or unicodedata.category(sign) in {"Zl", "Zp"} else sign
        for sign in start
    )
    return harmless if len(harmless) <= most else harmless[: most - 1] + "…"


def _posts(posts: Sequence[Post]) -> RenderableType:
    table = Table(expand=True, title="Hottest posts" if posts else "No popular post yet")
    table.add_column("post", ratio=3, no_wrap=True, overflow="ellipsis")
    for heading in ("seen", "predicted", "80 % interval", "window", "model"):
        table.add_column(heading, justify="right", no_wrap=True)
    for post in posts:
        alert = post.alert
        words = f"{alert.cid}  {alert.msg}" if alert.msg else alert.cid
        table.add_row(
            Text(plain_text(words)),
            f"{alert.n_obs:.0f}",
            f"{alert.popularity:.0f}",
            Text(_interval(post)),
            f"{alert.window_s:.0f} s",
            Text(plain_text(alert.model_version, 12)),
        )
    return table


def _interval(post: Post) -> str:
    low, high = post.alert.interval
    if low is None or high is None:
        return "–"
    return f"{low:.0f} … {high:.0f}" + ("" if post.alert.calibrated else " ?")


def _errors(state: BoardState) -> RenderableType:
    table = Table(title="Relative error, median (mean)")
    for heading in ("window", "samples", *(HEADINGS[stage] for stage in STAGES)):
        table.add_column(heading, justify="right")
    for window_s in sorted({window_s for window_s, _ in state.errors}):
        row = [state.errors.get((window_s, stage)) for stage in STAGES]
        samples = max((summary.count for summary in row if summary), default=0)
        table.add_row(f"{window_s} s", str(samples), *map(_error, row))
    return table


def _error(summary: Summary | None) -> str:
    return f"{summary.median:.3f} ({summary.mean:.3g})" if summary and summary.count else "–"
