"""What a demo has shown: the accounts of every event, and how far the predictions were off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.runtime.board import HEADINGS
from jobs.runtime.scores import STAGES, Scores
from jobs.runtime.scores import Summary as Errors

#: Below this many errors in a third of a run, "late" is noise.
LEAST_LATE_ERRORS = 30


@dataclass(frozen=True)
class Summary:
    """Counts of one run. Each event sent is in a cascade, refused with a letter, or still waits."""

    complete: bool
    """Whether the replay ran to its end and everything was flushed."""
    seconds: float
    first_prediction_s: float | None
    """Seconds from the start of the command to the first prediction."""
    events: int
    cascades: int
    in_cascades: int
    in_cascades_late: int
    """Of these, counted in the size but too late for a window."""
    orphans: int
    late: int
    repeated_roots: int
    malformed: int
    waiting: int
    partials: int
    predictions: int
    popular: int
    """Predictions above the threshold."""
    stats: int
    models: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Versions published, by window (s)."""
    errors: Mapping[int, Mapping[str, Errors]] = field(default_factory=dict)
    """By window (s), then method."""

    @property
    def accounted(self) -> int:
        """Events whose outcome is known."""
        refused = self.orphans + self.late + self.repeated_roots + self.malformed
        return self.in_cascades + refused + self.waiting

    @property
    def sound(self) -> bool:
        """Whether every event is accounted for and every partial has its prediction."""
        return self.accounted == self.events and self.predictions == self.partials

    def learned(self, window_s: int) -> bool | None:
        """Whether the late model beat Hawkes alone and was no worse than k·n; None with too few errors."""
        late = {stage: errors.late_mean for stage, errors in self.errors[window_s].items()}
        if self.errors[window_s]["model"].count < 3 * LEAST_LATE_ERRORS:
            return None
        return late["model"] < late["hawkes"] and late["model"] <= late["kn"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a figure that is not known is null."""
        plain = asdict(self)
        plain["errors"] = {
            str(window_s): {stage: _finite(asdict(errors)) for stage, errors in stages.items()}
            for window_s, stages in self.errors.items()
        }
        plain["models"] = {str(window_s): list(versions) for window_s, versions in self.models.items()}
        plain |= {"accounted": self.accounted, "sound": self.sound}
        plain["learned"] = {str(window_s): self.learned(window_s) for window_s in self.errors}
        return plain


def errors_of(scores: Scores) -> dict[int, dict[str, Errors]]:
    """Return the errors of every window and method."""
    return {
        window_s: {stage: scores.summary(window_s, stage) for stage in STAGES}
        for window_s in scores.windows_s
    }


def render(summary: Summary) -> RenderableType:
    """Draw the summary for people."""
    return Group(_counts(summary), _errors(summary), *map(Text, _verdicts(summary)))


def _counts(summary: Summary) -> Table:
    table = Table(title="What went through", show_header=False)
    table.add_column(justify="right")
    table.add_column()
    rows = [
        (summary.events, f"events of {summary.cascades:,} cascades sent"),
        (summary.in_cascades, f"in a cascade ({summary.in_cascades_late:,} of them late for a window)"),
        (summary.orphans, "orphans: retweets of no open cascade, most after 30 minutes of silence"),
        (summary.late + summary.repeated_roots + summary.malformed, "late, repeated or malformed"),
        (summary.waiting, "still within the allowed delay"),
        (summary.partials, "windows closed with enough events"),
        (summary.predictions, f"predictions, {summary.popular:,} of them popular"),
        (summary.stats, "predictions whose final size became known"),
    ]
    for count, meaning in rows:
        table.add_row(f"{count:,}", meaning)
    for window_s, versions in summary.models.items():
        newest = versions[-1] if versions else "none: k·n answers"
        table.add_row(f"{len(versions):,}", f"models published for {window_s} s, newest {newest}")
    return table


def _errors(summary: Summary) -> Table:
    table = Table(title="Absolute relative error, mean / median, in the first and the last third of the run")
    for heading in ("window", "method", "predictions", "early", "late"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for window_s, stages in summary.errors.items():
        for stage, errors in stages.items():
            early, late = (
                f"{mean:.3f} / {median:.3f}" if errors.count else "–"
                for mean, median in (
                    (errors.early_mean, errors.early_median),
                    (errors.late_mean, errors.late_median),
                )
            )
            table.add_row(f"{window_s} s", HEADINGS[stage], f"{errors.count:,}", early, late)
    return table


def _verdicts(summary: Summary) -> list[str]:
    lines = []
    if not summary.complete:
        lines.append("Stopped early: what was under way is not in the figures.")
    elif summary.sound:
        lines.append(f"All {summary.events:,} events are accounted for; every partial has its prediction.")
    else:
        lines.append(
            f"NOT SOUND: {summary.events:,} events sent, {summary.accounted:,} accounted for; "
            f"{summary.partials:,} partials, {summary.predictions:,} predictions."
        )
    for window_s in summary.errors:
        told = summary.learned(window_s)
        if told is not None:
            verdict = "beats Hawkes alone and is not worse than k·n" if told else "does NOT beat both others"
            lines.append(f"{window_s} s: late in the run the model {verdict}.")
    if summary.first_prediction_s is not None:
        first_s, all_s = summary.first_prediction_s, summary.seconds
        lines.append(f"First prediction after {first_s:.0f} s, all done after {all_s:.0f} s.")
    return lines


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
