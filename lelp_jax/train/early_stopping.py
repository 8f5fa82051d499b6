"""What becomes of members when they are evaluated: pure functions of the state."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lelp_jax.train.state import Array, Best, FleetState, MemberState


class Evaluation(NamedTuple):
    """How members do on the validation rows, each [members].

    Attributes:
        score: The metric that decides, the larger the better.
        nll: Negative log-likelihood, in nats.
        finite: Whether all of a member's logits are.
    """

    score: Array
    nll: Array
    finite: Array


def add_best(static: None, state: FleetState) -> FleetState:
    """Adds room for what evaluations find to the state of a new fleet."""
    del static
    members = state.members
    shape = members.diverged.shape
    best = Best(
        # Copied, not shared: later calls give the buffers of either away.
        params=jax.tree.map(jnp.copy, members.evaluated),
        score=jnp.full(shape, -jnp.inf),
        nll=jnp.full(shape, jnp.inf),
        step=jnp.zeros(shape, jnp.int32),
        waited=jnp.zeros(shape, jnp.int32),
        stopped=jnp.zeros(shape, bool),
    )
    return state._replace(members=members._replace(best=best))


def judge(limits: tuple[int, int], state: FleetState, evaluation: Evaluation) -> FleetState:
    """Keeps the parameters of members that did better than ever, and stops those that waited.

    Members that stopped or diverged before stay as they are; a member whose logits are not finite
    counts as diverged from now on.

    Args:
        limits: The length of training and `EarlyStopping.patience`.
        state: With what `add_best` made.
        evaluation: Of the parameters in the state.
    """
    steps, patience = limits
    done = jnp.minimum(state.step, steps)

    def one_member(member: MemberState, seen: Evaluation) -> MemberState:
        best = member.best
        assert best is not None
        diverged = member.diverged | ~(best.stopped | seen.finite)
        active = ~(diverged | best.stopped)
        ahead = (seen.score > best.score) | ((seen.score == best.score) & (seen.nll < best.nll))
        better = active & ahead
        waited = jnp.where(better, 0, best.waited + active)
        score, nll = jnp.asarray(seen.score), jnp.asarray(seen.nll)
        found = Best(member.evaluated, score, nll, done, waited, best.stopped)
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), found, best)
        stopped = best.stopped
        if patience:
            stopped |= waited >= patience
        return member._replace(
            best=kept._replace(waited=waited, stopped=stopped),
            diverged=diverged,
        )

    return state._replace(members=jax.vmap(one_member)(state.members, evaluation))
