"""Cascades with the sizes and the growth of real ones: a branching process, a generation at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from udfs.ragged import Floats, Ints, Ragged

DAY_S: Final = 86_400.0
#: Followers of a retweeter: log-normal, log mean 5.1 and log deviation 1.38.
LOG_FOLLOWERS: Final = (5.1, 1.38)
#: Children grow with (followers + 1)^.58; divided by its mean, so that n* stays the mean number of children.
FOLLOWER_POWER: Final = 0.58
MEAN_POWER: Final = math.exp(FOLLOWER_POWER * LOG_FOLLOWERS[0] + (FOLLOWER_POWER * LOG_FOLLOWERS[1]) ** 2 / 2)
#: Amplitude of the rhythm of the day, and how much it leans on the hour the root was posted.
DAY_AMPLITUDE: Final = 0.57
PHASE_LEAN: Final = 0.07
#: Larger cascades are drawn again. By day 1.57 n* may pass 1 and about one cascade in 1,000 would explode, to
#: millions of events; the largest of real ones stay in the tens of thousands.
MAX_SIZE: Final = 50_000
#: Roots simulated at once, 2 to 3 million events: bounds the memory.
ROOTS_PER_ROUND: Final = 20_000


@dataclass(frozen=True)
class Roots:
    """What is drawn once a cascade; every array has shape (k,)."""

    followers: Floats
    mean_children: Floats
    """Of the root, before rhythm and decay."""
    branching_factor: Floats
    """n* of the other events, before rhythm and decay."""
    delay_exponent: Floats
    delay_flat_s: Floats
    """Delays have a constant density up to here, then a power law."""
    decay_s: Floats
    phase: Floats
    """Of the day, radians."""

    @classmethod
    def draw(cls, count: int, rng: np.random.Generator) -> Roots:
        """Draw ``count`` independent cascades' properties."""
        z, e_followers, e_branching, e_theta, e_flat, e_decay = rng.standard_normal((6, count))
        followers = np.floor(np.exp(11.0 + 2.0 * (0.4 * z + math.sqrt(0.84) * e_followers)))
        logit = -0.71 - 0.06 * (np.log(np.maximum(followers, 1.0)) - 11.0) / 2.0 + 1.16 * e_branching
        phase = rng.uniform(0.0, 2.0 * np.pi, count)
        # A phase or its mirror image, by their densities: exactly proportional to 1 + lean sin(phase).
        mirrored = rng.random(count) > (1.0 + PHASE_LEAN * np.sin(phase)) / 2.0
        return cls(
            followers=followers,
            mean_children=np.exp(3.31 + 0.88 * z),
            branching_factor=0.98 / (1.0 + np.exp(-logit)),
            delay_exponent=np.maximum(0.05, 0.283 * np.exp(0.31 * e_theta)),
            delay_flat_s=np.exp(5.27 + 0.13 * e_flat),
            decay_s=np.exp(13.06 + 0.33 * e_decay),
            phase=np.where(mirrored, -phase, phase),
        )


def simulate(
    count: int, rng: np.random.Generator, horizon_s: float = 7 * DAY_S, min_size: int = 50
) -> Ragged:
    """Simulate ``count`` complete cascades of ``min_size`` events or more (root included) in ``horizon_s``.

    Followers, direct retweets, delays and the rhythm of the day follow laws fitted to real cascades of
    news; marks are followers. The order is that of the draw: cascades are independent and identically
    distributed, whatever their size (none above ``MAX_SIZE``). Raises ``ValueError`` for a negative count,
    a minimum that ``MAX_SIZE`` makes rare, or a horizon that is not positive and finite.
    """
    if count < 0 or not 0.0 < horizon_s < math.inf:
        raise ValueError("simulate needs a count of 0 or more and a positive, finite horizon")
    if min_size > MAX_SIZE // 50:
        raise ValueError(f"cascades of {min_size} events and more are too rare to wait for")
    kept: list[tuple[Ints, Floats, Floats]] = []
    missing, accepted, drawn = count, 0, 0
    while missing > 0:
        rate = (accepted + 1.0) / (drawn + 2.0)
        roots = min(ROOTS_PER_ROUND, int(missing / rate) + 16)
        lengths, times_s, followers = _large_cascades(roots, rng, horizon_s, min_size, missing)
        kept.append((lengths, times_s, followers))
        missing -= len(lengths)
        accepted += len(lengths)
        drawn += roots
    lengths = np.concatenate([np.empty(0, np.int64), *(round_[0] for round_ in kept)])
    return Ragged(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.empty(0), *(round_[1] for round_ in kept)]),
        np.concatenate([np.empty(0), *(round_[2] for round_ in kept)]),
    )


def _large_cascades(
    count: int, rng: np.random.Generator, horizon_s: float, min_size: int, most: int
) -> tuple[Ints, Floats, Floats]:
    """Simulate ``count`` cascades; lengths, times, followers of the first ``most`` of a size to keep."""
    roots = Roots.draw(count, rng)
    cascade, times_s, followers = _branch(roots, rng, horizon_s)
    sizes = np.bincount(cascade, minlength=count)
    chosen = np.flatnonzero((sizes >= min_size) & (sizes <= MAX_SIZE))[:most]
    is_chosen = np.zeros(count, dtype=np.bool_)
    is_chosen[chosen] = True
    keep = is_chosen[cascade]
    cascade, times_s, followers = cascade[keep], times_s[keep], followers[keep]
    order = np.lexsort((times_s, cascade))  # stable: at equal times parents stay before children
    return sizes[chosen].astype(np.int64), times_s[order], followers[order]


def _branch(roots: Roots, rng: np.random.Generator, horizon_s: float) -> tuple[Ints, Floats, Floats]:
    """Cascade, time and followers of every event, generation by generation (roots first).

    A cascade that has passed ``MAX_SIZE`` has no further children: it will not be kept.
    """
    cascade: Ints = np.arange(len(roots.followers), dtype=np.int64)
    times_s, followers = np.zeros(len(cascade)), roots.followers
    mean_children = roots.mean_children
    generations = [(cascade, times_s, followers)]
    sizes = np.ones(len(cascade), dtype=np.int64)
    while len(cascade) > 0:
        cascade, times_s = _children(roots, rng, cascade, times_s, mean_children, horizon_s)
        followers = np.floor(np.exp(LOG_FOLLOWERS[0] + LOG_FOLLOWERS[1] * rng.standard_normal(len(cascade))))
        sizes += np.bincount(cascade, minlength=len(sizes))
        growing = roots.branching_factor[cascade] * (sizes[cascade] <= MAX_SIZE)
        mean_children = growing * (followers + 1.0) ** FOLLOWER_POWER / MEAN_POWER
        generations.append((cascade, times_s, followers))
    cascades, times, marks = zip(*generations, strict=True)
    return np.concatenate(cascades), np.concatenate(times), np.concatenate(marks)


def _children(
    roots: Roots,
    rng: np.random.Generator,
    cascade: Ints,
    times_s: Floats,
    mean_children: Floats,
    horizon_s: float,
) -> tuple[Ints, Floats]:
    """Cascade and time of the next generation: proposed too often, then thinned by rhythm and decay."""
    proposed = rng.poisson(mean_children * (1.0 + DAY_AMPLITUDE))
    cascade = np.repeat(cascade, proposed)
    times_s = np.repeat(times_s, proposed) + _delays(roots, rng, cascade)
    within = times_s < horizon_s
    cascade, times_s = cascade[within], times_s[within]
    rhythm = 1.0 + DAY_AMPLITUDE * np.sin(2.0 * np.pi * times_s / DAY_S + roots.phase[cascade])
    accept = np.exp(-times_s / roots.decay_s[cascade]) * rhythm / (1.0 + DAY_AMPLITUDE)
    keep = rng.random(len(cascade)) < accept
    return cascade[keep], times_s[keep]


def _delays(roots: Roots, rng: np.random.Generator, cascade: Ints) -> Floats:
    """Delays (s) after a parent: constant density up to s0, beyond it a power law of exponent 1 + theta."""
    theta, flat_s = roots.delay_exponent[cascade], roots.delay_flat_s[cascade]
    u = rng.random(len(cascade))
    share_flat = theta / (1.0 + theta)
    tail = ((1.0 - u) * (1.0 + theta)) ** (-1.0 / theta)  # 1 - u is at least 2^-53
    delays: Floats = flat_s * np.where(u < share_flat, u / share_flat, tail)
    return delays
