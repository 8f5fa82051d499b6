"""Length buckets: batches of texts of about the same length, so that little of them is padding.

Every step of a fleet sees rows of one bucket, the same for all members, since they share the
program of its shape; several steps in a row do, a run, so that they may be one call. A bucket is a
stretch of ranks when a member's rows are sorted by length: any subset of the rows has the same
share of its rows in it.

Every epoch deals to each bucket as many runs as its rows fill, and draws their order. All buckets
but that of the longest rows hold a whole number of runs, so that each of their rows is seen once
per epoch. The longest rows take the rest, and with it what does not fill a last run.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from lelp_jax.core import seeds
from lelp_jax.data import loader
from lelp_jax.models import tokens

# Each bucket has a compiled program of its own: as few as keep the padding below this share, and
# none that saves fewer operations than two CPU cores do while they compile it.
_MOST_WASTE = 0.14
_MOST_BUCKETS = 8
_OPERATIONS_OF_COMPILING = 5e10
# Steps in a row that see rows of one bucket. Not those of a dispatch: how many these are depends on
# the size of the fleet, and the order of a member's examples must not.
RUN = 4
# Of a quotient that is whole but for rounding.
_SLACK = 1e-9


@dataclasses.dataclass(frozen=True)
class Division:
    """How rows are divided by length.

    Attributes:
        runs: Whole runs that an epoch deals to each bucket but the last.
        rows: Rows of a run.
        seen: Rows of an epoch; those that the other buckets do not hold are in the last.
    """

    runs: tuple[int, ...]
    rows: int
    seen: int

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the rows up to the end of each bucket, rising to 1."""
        ends = np.cumsum(self.runs) * self.rows / self.seen
        return (*ends.tolist(), 1.0)

    def first_run(self, epoch: int) -> int:
        """Computes the number of runs before an epoch begins."""
        return -(-epoch * self.seen // self.rows)

    def epoch_of(self, run: int) -> int:
        """Finds the epoch that a run belongs to."""
        # The last epoch e with ceil(e * seen / rows) <= run.
        return run * self.rows // self.seen


# The single bucket of inputs that are not tokens.
WHOLE = Division((), 1, 1)


def divide(lengths: np.ndarray, batch_size: int, seen: int, work: float) -> Division:
    """Divides rows by length, with little padding for the number of buckets.

    Args:
        lengths: Tokens of each row, [rows].
        batch_size: Examples per step.
        seen: How many rows a member sees; a sample of the rows.
        work: Operations of a training in which every row is as long as the longest.

    Returns:
        As few buckets as leave less than 14 % of the tokens as padding, at most 8, each of a run at
        least, and no more than are worth their compilation.
    """
    rows = RUN * batch_size
    shares = find_ends(lengths, min(rows / seen, 1.0), work)
    # Down to a whole number of runs: the few rows beyond it are seen with longer ones.
    stops = [math.floor(share * seen / rows + _SLACK) for share in shares[:-1]]
    return Division(tuple(np.diff([0, *stops]).tolist()), rows, seen)


def find_ends(lengths: np.ndarray, least: float, work: float) -> tuple[float, ...]:
    """Finds where buckets end with the least padding for their number; see `divide`.

    Args:
        lengths: Tokens of each row, [rows].
        least: The smallest share of the rows that a bucket may hold.
        work: Operations of a training in which every row is as long as the longest.

    Returns:
        The share of the rows up to the end of each bucket, rising to 1.
    """
    values, counts = np.unique(lengths, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    size = np.concatenate([[0], values])
    rows = below[None, :] - below[:, None]
    # Tokens, padding included, of a bucket after the i-th up to the j-th length.
    tokens = np.where(rows >= max(least * len(lengths), 1), rows * size[None, :], np.inf)
    cost, cuts, best = np.full(len(size), np.inf), [], (0, np.inf)
    cost[0] = 0
    for buckets in range(1, _MOST_BUCKETS + 1):
        total = cost[:, None] + tokens
        cuts.append(total.argmin(axis=0))
        cost = total.min(axis=0)
        if not np.isfinite(cost[-1]):
            break
        saved = work * (best[1] - cost[-1]) / (len(lengths) * size[-1]) if buckets > 1 else np.inf
        if saved < _OPERATIONS_OF_COMPILING:
            break
        best = buckets, cost[-1]
        if 1 - lengths.sum() / cost[-1] < _MOST_WASTE:
            break
    place, found = len(size) - 1, []
    for cut in reversed(cuts[: best[0]]):
        found.append(below[place] / len(lengths))
        place = cut[place]
    return tuple(float(share) for share in reversed(found))


@dataclasses.dataclass(frozen=True)
class Buckets:
    """Which rows the members of a fleet see in each step.

    Attributes:
        division: How rows are divided.
        lengths: How many tokens of a row are seen in each bucket; (0,) if inputs are not tokens,
            and all of a row is seen.
        orders: Each group's rows by length, positions among its rows, [rows of the group].
        seed: Of the sequence of buckets.
    """

    division: Division
    lengths: tuple[int, ...]
    orders: tuple[np.ndarray, ...]
    seed: int

    def positions(
        self, first_step: int, steps: int, batch_size: int, seed: int, group: int
    ) -> np.ndarray:
        """Computes which rows a member sees in some steps.

        Args:
            first_step: The first of them, counted from 0.
            steps: How many; of tokens, all within one run.
            batch_size: Examples per step.
            seed: Seed of the member's order.
            group: The member's group.

        Returns:
            Positions among its group's rows, [steps, batch_size] int32.
        """
        run, offset = divmod(first_step, RUN)
        assert len(self.lengths) == 1 or offset + steps <= RUN
        bucket, before = self._place(run)
        order = self.orders[group]
        start, stop = _ranks(self.division.shares, len(order))[bucket]
        ranks = loader.batch_positions(
            seeds.derive(seed, "bucket", bucket) if bucket else seed,
            before * RUN + offset,
            steps,
            batch_size,
            stop - start,
        )
        return order[start + ranks].astype(np.int32)

    def length(self, step: int) -> int:
        """Finds how many tokens of a row are seen in a step; 0 means all."""
        return self.lengths[self._place(step // RUN)[0]]

    def _place(self, run: int) -> tuple[int, int]:
        """Finds a run's bucket, and how many runs before it had the same."""
        division = self.division
        if not division.runs:
            return 0, run
        epoch = division.epoch_of(run)
        first = division.first_run(epoch)
        dealt = _deal_epoch(division, self.seed, epoch)
        bucket = int(dealt[run - first])
        before = int((dealt[: run - first] == bucket).sum())
        if bucket < len(division.runs):
            return bucket, before + epoch * division.runs[bucket]
        return bucket, before + first - epoch * sum(division.runs)


@functools.lru_cache(maxsize=64)
def _deal_epoch(division: Division, seed: int, epoch: int) -> np.ndarray:
    """Computes the bucket of each run of an epoch, [runs]."""
    count = division.first_run(epoch + 1) - division.first_run(epoch)
    last = len(division.runs)
    dealt = np.repeat(np.arange(last + 1), [*division.runs, count - sum(division.runs)])
    words = seeds.hash_words(seeds.derive(seed, "buckets", epoch), np.arange(count))
    # A training may end before the last run of an epoch is whole: the longest rows come then, which
    # alone are not counted in whole runs.
    return np.append(dealt[:-1][np.argsort(words[:-1])], last)


def _ranks(shares: tuple[float, ...], rows: int) -> list[tuple[int, int]]:
    """Computes first rank and end of each bucket among so many rows; none is empty."""
    stops = [max(round(share * rows), 1) for share in shares]
    return [
        (min(start, stop - 1), stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True)
    ]


def keep_whole_rows(group_sizes: Sequence[int]) -> Buckets:
    """Makes the single bucket of inputs that are not tokens.

    Args:
        group_sizes: Rows of each group.
    """
    return Buckets(WHOLE, (0,), tuple(np.arange(size) for size in group_sizes), 0)


def sort_groups(division: Division, lengths: Sequence[np.ndarray], seed: int) -> Buckets:
    """Sorts the rows of each group by length.

    Args:
        division: How rows are divided.
        lengths: Tokens of each of a group's rows, [rows of the group] each.
        seed: Of the sequence of buckets.
    """
    orders = tuple(np.argsort(group, kind="stable") for group in lengths)
    longest = [
        max(
            int(group[order[stop - 1]])
            for group, order in zip(lengths, orders, strict=True)
            for stop in [_ranks(division.shares, len(order))[bucket][1]]
        )
        for bucket in range(len(division.shares))
    ]
    return Buckets(division, tuple(longest), orders, seed)


def make_buckets(
    inputs: np.ndarray,
    rows: Sequence[np.ndarray],
    division: Division,
    seed: int,
) -> Buckets:
    """Makes the buckets of a fleet for inputs of any kind.

    Args:
        inputs: [all rows, features...] or tokens [all rows, length].
        rows: Which of them each group sees, [rows of the group] each.
        division: How they are divided.
        seed: Of the sequence of buckets.
    """
    if not tokens.are_tokens(inputs):
        return keep_whole_rows([len(group) for group in rows])
    lengths = tokens.lengths(inputs)
    return sort_groups(division, [lengths[group] for group in rows], seed)


def choose_ends(inputs: np.ndarray, batch_size: int, seen: int, work: float) -> Division:
    """Chooses how rows are divided into buckets; only tokens are.

    Args:
        inputs: [rows, features...] or tokens [rows, length].
        batch_size: Examples per step.
        seen: How many rows a member sees.
        work: Operations of its training on rows as long as the longest.
    """
    if not tokens.are_tokens(inputs):
        return WHOLE
    return divide(tokens.lengths(inputs), batch_size, seen, work)
