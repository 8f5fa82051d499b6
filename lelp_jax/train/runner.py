"""Runs the steps of a fleet on the devices."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from lelp_jax import parallel
from lelp_jax.data import loader
from lelp_jax.train import plan
from lelp_jax.train.job import FleetJob, count_trained
from lelp_jax.train.state import FleetState, Members, StepLog
from lelp_jax.train.step import init_fleet, train_fleet


class Runner:
    """The compiled program of a fleet and the arrays that stay the same in every call.

    Attributes:
        job: The fleet.
        steps: Steps of one dispatch.
        mesh: Where it runs.
        compile_seconds: Spent so far on compiling.
    """

    def __init__(self, job: FleetJob):
        """Places the arrays; nothing is compiled yet.

        Args:
            job: The fleet.
        """
        self.job = job
        trained = count_trained(job.spec, job.inputs)
        platform = jax.devices()[0].platform
        # Of one group: all are of the same shapes.
        frozen = sum(leaf[0].size for leaf in jax.tree.leaves(job.rows.frozen))
        self.steps = plan.steps_per_dispatch(
            trained, job.batch_size, len(job.members), job.spec.steps, platform, frozen
        )
        self.mesh = parallel.fleet_mesh(len(job.members), job.batch_size)
        size = parallel.padded_members(len(job.members), self.mesh)
        # Padding repeats the last member; its results are dropped.
        self.padded = [job.members[min(i, len(job.members) - 1)] for i in range(size)]
        self.numeric = {
            name: np.array([member.numeric[name] for member in job.members], np.float32)
            for name in job.members[0].numeric
        }
        self.group = np.array([member.group for member in job.members], np.int32)
        by_member = parallel.sharding(self.mesh, parallel.MEMBER)
        everywhere = parallel.sharding(self.mesh)
        # The mesh's batch axis splits positions, and with them every array of a batch.
        self.by_position = parallel.sharding(self.mesh, None, parallel.MEMBER, parallel.DATA)
        self.state_sharding = FleetState(everywhere, by_member)  # type: ignore[arg-type]
        members = Members(
            numeric={
                name: np.array([member.numeric[name] for member in self.padded], np.float32)
                for name in self.numeric
            },
            seed=np.array([member.seed for member in self.padded], np.uint32),
            group=np.array([member.group for member in self.padded], np.int32),
        )
        self.members = jax.device_put(members, by_member)
        self.rows, self.inputs = jax.device_put((job.rows, job.inputs), everywhere)
        self.compile_seconds = 0.0
        self._program: Any = None

    def new_state(self) -> FleetState:
        """Returns new members."""
        arguments = (self.inputs[:1], self.members.seed)
        program, seconds = parallel.compiled(
            init_fleet, self.job.spec, arguments, out_shardings=self.state_sharding
        )
        self.compile_seconds += seconds
        return program(*arguments)

    def dispatch(self, state: FleetState, first_step: int) -> tuple[FleetState, StepLog]:
        """Starts the next steps; returns before the device has done them."""
        job = self.job
        orders = {
            (member.order_seed, member.group): loader.batch_positions(
                member.order_seed,
                first_step,
                self.steps,
                job.batch_size,
                int(job.group_sizes[member.group]),
            )
            for member in job.members
        }
        positions = np.stack([orders[m.order_seed, m.group] for m in self.padded], axis=1)
        arguments = (
            state,
            self.members,
            self.rows,
            self.inputs,
            jax.device_put(positions, self.by_position),
        )
        if self._program is None:
            self._program, seconds = parallel.compiled(
                train_fleet,
                job.spec,
                arguments,
                out_shardings=(self.state_sharding, parallel.sharding(self.mesh)),
                donate=(0,),
            )
            self.compile_seconds += seconds
        return self._program(*arguments)
