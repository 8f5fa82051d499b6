"""Runs the steps of a fleet on the devices."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from lelp_jax.core import parallel
from lelp_jax.models import tokens
from lelp_jax.train import buckets, plan
from lelp_jax.train.fleet import FleetJob, estimate_work
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
        # Of one group: all are of the same shapes.
        frozen = sum(leaf[0].size for leaf in jax.tree.leaves(job.rows.frozen))
        self.steps = plan.steps_per_dispatch(
            estimate_work(job.spec, job.inputs, job.batch_size, frozen),
            len(job.members),
            job.spec.steps,
            jax.devices()[0].platform,
            job.early_stopping.spacing(job.spec.steps),
            buckets.RUN if tokens.are_tokens(job.inputs) else 0,
        )
        self.mesh = parallel.make_fleet_mesh(len(job.members), job.batch_size)
        size = parallel.round_up_members(len(job.members), self.mesh)
        # Padding repeats the last member; its results are dropped.
        self.padded = [job.members[min(i, len(job.members) - 1)] for i in range(size)]
        self.hyperparameters = {
            name: np.array([member.hyperparameters[name] for member in job.members], np.float32)
            for name in job.members[0].hyperparameters
        }
        self.group = np.array([member.group for member in job.members], np.int32)
        by_member = parallel.make_sharding(self.mesh, parallel.MEMBER)
        everywhere = parallel.make_sharding(self.mesh)
        # The mesh's batch axis splits positions, and with them every array of a batch.
        self.by_position = parallel.make_sharding(self.mesh, None, parallel.MEMBER, parallel.DATA)
        self.state_sharding = FleetState(everywhere, by_member)  # type: ignore[arg-type]
        members = Members(
            hyperparameters={
                name: np.array([member.hyperparameters[name] for member in self.padded], np.float32)
                for name in self.hyperparameters
            },
            seed=np.array([member.seed for member in self.padded], np.uint32),
            group=np.array([member.group for member in self.padded], np.int32),
        )
        self.members = jax.device_put(members, by_member)
        self.rows, self.inputs = jax.device_put((job.rows, job.inputs), everywhere)
        self._everywhere = everywhere
        self.compile_seconds = 0.0
        # By how many tokens of a row are seen.
        self._programs: dict[int, Any] = {}

    def new_state(self) -> FleetState:
        """Initialises the members."""
        initial = jax.device_put(self.job.initial, self._everywhere)
        arguments = (self.inputs[:1], self.members.seed, initial, self.members.group)
        program, seconds = parallel.compile_program(
            init_fleet,
            self.job.spec,
            arguments,
            out_shardings=self.state_sharding,
            runs_once=True,
        )
        self.compile_seconds += seconds
        return program(*arguments)

    def dispatch(self, state: FleetState, first_step: int) -> tuple[FleetState, StepLog]:
        """Starts the next steps; returns before the device has done them."""
        job = self.job
        orders = {
            (member.order_seed, member.group): job.buckets.positions(
                first_step, self.steps, job.batch_size, member.order_seed, member.group
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
        length = job.buckets.length(first_step)
        if length not in self._programs:
            self._programs[length], seconds = parallel.compile_program(
                train_fleet,
                dataclasses.replace(job.spec, length=length),
                arguments,
                out_shardings=(self.state_sharding, parallel.make_sharding(self.mesh)),
                donate=(0,),
            )
            self.compile_seconds += seconds
        return self._programs[length](*arguments)
