"""Devices, meshes and the one place where steps are compiled."""

from __future__ import annotations

import collections
import functools
import logging
import math
import os
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lelp_jax.core.compilation_cache import set_up_cache

MEMBER = "member"
DATA = "data"

_LOG = logging.getLogger(__name__)
_SHAPES_LOGGED = 4


def set_up() -> None:
    """Prepares JAX for this process; call it before anything asks for a device.

    On a CPU every core becomes a device, since the members of a fleet are too small to keep
    several cores busy with one operation; `JAX_NUM_CPU_DEVICES` overrules it. Compiled programs are
    kept on disk, in a cache shared by all runs.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ and "XLA_FLAGS" not in os.environ:
        jax.config.update("jax_num_cpu_devices", count_cores())
    set_up_cache()


def count_cores() -> int:
    """Counts the processor cores that this process may use."""
    # macOS has no affinity.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_fleet_mesh(members: int, batch_size: int) -> Mesh:
    """Makes the mesh that a fleet trains on: members along one axis, each batch along the other.

    Members are spread first. Accelerators left over share the batches, where these divide evenly;
    on a CPU they stay idle, because the all-reduce of every step would cost more than it saves.

    Args:
        members: Fleet size.
        batch_size: Examples per member and step.
    """
    devices = jax.devices()
    across = min(members, len(devices))
    along = len(devices) // across
    if devices[0].platform == "cpu" or batch_size % along:
        along = 1
    return make_mesh(across, along)


def make_mesh(members: int, data: int) -> Mesh:
    """Makes a mesh of the first `members * data` devices."""
    # Auto axes: the default of jax.make_mesh is Explicit, under which gathers must be annotated.
    return jax.make_mesh(
        (members, data),
        (MEMBER, DATA),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=jax.devices()[: members * data],
    )


def join_processes() -> None:
    """Joins the other processes of this program; call it before anything asks for a device.

    The environment says whether there are any, as jax.distributed reads it:
    `JAX_COORDINATOR_ADDRESS` (host:port of process 0), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.
    """
    if "JAX_COORDINATOR_ADDRESS" not in os.environ:
        return
    count, number = (os.environ.get(f"JAX_{name}") for name in ("NUM_PROCESSES", "PROCESS_ID"))
    jax.distributed.initialize(
        num_processes=int(count) if count else None, process_id=int(number) if number else None
    )


def is_first_process() -> bool:
    """Checks whether this process is the one that writes what only one may write."""
    return jax.process_index() == 0


def has_several_processes() -> bool:
    """Checks whether this process is one of several."""
    return jax.process_count() > 1


def wait_for_processes(place: str) -> None:
    """Waits until every process has reached this call."""
    if has_several_processes():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)


def divide_among_processes(count: int, multiple: int = 1) -> list[slice]:
    """Divides `count` things into one stretch per process.

    Args:
        count: How many there are.
        multiple: Stretches begin at multiples of it.
    """
    size = math.ceil(count / (multiple * jax.process_count())) * multiple
    firsts = [min(number * size, count) for number in range(jax.process_count())]
    return [slice(first, min(first + size, count)) for first in firsts]


def pick_own_share(count: int, multiple: int = 1) -> slice:
    """Picks this process's stretch of `divide_among_processes`."""
    return divide_among_processes(count, multiple)[jax.process_index()]


def is_cpu() -> bool:
    """Checks whether this process computes on a CPU, not on an accelerator."""
    return jax.local_devices()[0].platform == "cpu"


def make_local_mesh(most: int | None = None) -> Mesh:
    """Makes a mesh of this process's devices, or the first `most` of them, along the data axis."""
    return _make_data_mesh(jax.local_devices()[:most])


def make_global_mesh() -> Mesh:
    """Makes a mesh of the devices of all processes, along the data axis."""
    return _make_data_mesh(jax.devices())


def _make_data_mesh(devices: list[jax.Device]) -> Mesh:
    return jax.make_mesh((len(devices),), (DATA,), axis_types=(AxisType.Auto,), devices=devices)


def put_on_each(mesh: Mesh, arrays: Sequence[np.ndarray]) -> jax.Array:
    """Places one array of equal shape on each device, [devices, ...].

    Args:
        mesh: This process's devices.
        arrays: As many as there are devices.
    """
    # One at a time: cutting up a stacked array takes an order of magnitude longer.
    pieces = [
        jax.device_put(array[None], device)
        for array, device in zip(arrays, mesh.devices.flat, strict=True)
    ]
    return jax.make_array_from_single_device_arrays(
        (len(pieces), *arrays[0].shape), make_sharding(mesh, DATA), pieces
    )


def run_on_each_device(
    function: Callable[..., Any],
    mesh: Mesh,
    parts: tuple[Any, ...],
    whole: tuple[Any, ...] = (),
    *,
    alike: bool = False,
) -> Any:
    """Calls a function on every device with that device's arrays, inside compiled programs.

    Args:
        function: Called as `function(*parts, *whole)`; it may use collectives along `DATA`.
        mesh: The devices.
        parts: Arrays [devices, ...], of which a device is given its own, [...].
        whole: Arrays that every device is given.
        alike: Whether all devices return the same.

    Returns:
        What the devices return, [devices, ...]; just [...] if it is all the same.
    """

    def one_device(parts: tuple[Any, ...], whole: tuple[Any, ...]) -> Any:
        result = function(*jax.tree.map(lambda array: array[0], parts), *whole)
        return result if alike else jax.tree.map(lambda array: array[None], result)

    each, everywhere = PartitionSpec(DATA), PartitionSpec()
    return jax.shard_map(
        one_device,
        mesh=mesh,
        in_specs=(each, everywhere),
        out_specs=everywhere if alike else each,
        # What loops carry begins as a constant and later differs between devices.
        check_vma=False,
    )(parts, whole)


def join_across_processes(tree: Any) -> Any:
    """Joins each process's share to arrays over the devices of all processes.

    Args:
        tree: Arrays over this process's devices, [own devices, ...] each; nothing is copied.
    """
    mesh = make_global_mesh()

    def whole(array: jax.Array) -> jax.Array:
        pieces = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(
            (mesh.size, *array.shape[1:]), make_sharding(mesh, DATA), pieces
        )

    return jax.tree.map(whole, tree)


def gather_processes(tree: Any) -> Any:
    """Collects an array of equal shape from each process, [processes, ...] on the host."""
    if not has_several_processes():
        return jax.tree.map(lambda array: array[None], tree)
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree))


def take_from_first_process(tree: Any) -> Any:
    """Sends the first process's arrays to every process, on the host."""
    if not has_several_processes():
        return tree
    from jax.experimental import multihost_utils

    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def take_from_first_device(tree: Any) -> Any:
    """Picks the copy of replicated arrays on this process's first device."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def round_up_members(members: int, mesh: Mesh) -> int:
    """Rounds the fleet size up to a multiple of the mesh's member axis."""
    across = mesh.shape[MEMBER]
    return math.ceil(members / across) * across


def make_sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    """Makes the sharding that splits the leading dimensions along the axes named."""
    return NamedSharding(mesh, PartitionSpec(*axes))


@functools.lru_cache(maxsize=256)
def _jit(
    function: Callable[..., Any], static: Hashable, out_shardings: Any, donate: tuple[int, ...]
) -> Any:
    bound = functools.partial(function, static)
    return jax.jit(bound, out_shardings=out_shardings, donate_argnums=donate)


# Each program takes some of the memory mappings that a process may have (65,530 on Linux): beyond
# them it dies. Those used least recently are dropped.
_MOST_COMPILED = 512
_COMPILED: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def compile_program(
    function: Callable[..., Any],
    static: Hashable,
    arguments: tuple[Any, ...],
    *,
    out_shardings: Any = None,
    donate: tuple[int, ...] = (),
    runs_once: bool = False,
) -> tuple[Callable[..., Any], float]:
    """Compiles a pure function ahead of its first call, or finds it already compiled.

    Args:
        function: Called as `function(static, *arguments)`; module-level, since it is part of the
            key.
        static: Hashable description of the program.
        arguments: Arrays placed as they will be in every call; their shardings become those of
            the compiled program.
        out_shardings: Shardings of the results, a pytree prefix.
        donate: Positions in `arguments` whose buffers the results may take over.
        runs_once: Whether the program runs so rarely that compiling it is what takes time: on a
            CPU it is then optimised less.

    Returns:
        The compiled function of `arguments`, and the seconds that compiling took.
    """
    leaves, tree = jax.tree.flatten(arguments)
    shapes = tuple((leaf.shape, str(leaf.dtype), leaf.sharding) for leaf in leaves)
    key = (function, static, out_shardings, donate, tree, shapes)
    if key in _COMPILED:
        _COMPILED.move_to_end(key)
        return _COMPILED[key], 0.0
    start = time.perf_counter()
    lowered = _jit(function, static, out_shardings, donate).lower(*arguments)
    # LLVM's level alone; XLA's own passes stay. New members of every family of networks were the
    # same to the bit, in 40 % of the time.
    quick = runs_once and is_cpu()
    options: dict[str, Any] | None = {"xla_backend_optimization_level": 1} if quick else None
    program = lowered.compile(compiler_options=options)
    _COMPILED[key] = program
    if len(_COMPILED) > _MOST_COMPILED:
        _COMPILED.popitem(last=False)
    seconds = time.perf_counter() - start
    _LOG.debug("compiled %s(%s) in %.2f s", function.__name__, _describe_shapes(leaves), seconds)
    return program, seconds


def _describe_shapes(arrays: Sequence[jax.Array]) -> str:
    """Describes the largest arrays by type and shape, as "f4[8,64,32] x3, i4[8], ..."."""
    largest = sorted(arrays, key=lambda array: -array.nbytes)
    kinds = collections.Counter(
        f"{array.dtype.kind}{array.dtype.itemsize}[{','.join(map(str, array.shape))}]"
        for array in largest
    )
    shown = [f"{kind} x{n}" if n > 1 else kind for kind, n in kinds.items()]
    return ", ".join(shown[:_SHAPES_LOGGED] + ["..."] * (len(shown) > _SHAPES_LOGGED))
