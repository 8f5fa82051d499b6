"""Training and running convolutional networks, beside PyTorch.

    make bench-images

The networks are the small CNN on images of 28x28 pixels and one channel, and ResNet-20 on 32x32
pixels and three, in float32; the images are random, since the time does not depend on which. A
training step is what a user's step is here: that of a fleet of one, with batch normalization, AdamW
and a schedule, images gathered and scaled in the step. PyTorch's is the usual loop on images that
are already floating point numbers, in the layout that is fastest on CPUs (`channels_last`).
Compilation is told apart and not saved.

Contenders take turns, and a ratio is taken within each round and then its median over the rounds,
so that other load on the machine falls on both sides. Processor time is what all threads of the
process spent: unlike wall time it hardly grows with other load.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch import nn

from benchmarks import machine
from benchmarks.lone import LoneNetwork
from lelp_jax import models
from lelp_jax.core import memory, parallel
from lelp_jax.train.optimizer import OptimizerConfig

ROUNDS = 9
BATCH, CLASSES = 128, 10
NUMERIC = {"learning_rate": 1e-3, "weight_decay": 1e-4, "label_smoothing": 0.0}
WHAT = ("train", "forward")


@dataclasses.dataclass(frozen=True)
class Network:
    """A network in both frameworks.

    Attributes:
        settings: Its section of a config.
        shape: Height, width and channels of the images.
        build_theirs: Builds it in PyTorch.
        most: What a training step is to take at most, in times of PyTorch's.
    """

    settings: Mapping[str, Any]
    shape: tuple[int, int, int]
    build_theirs: Callable[[], nn.Module]
    most: float


class Theirs:
    """The same network in PyTorch."""

    steps = 1

    def __init__(self, network: Network, threads: int):
        """Warms up.

        Args:
            network: The network.
            threads: Of PyTorch's operations.
        """
        self._threads = threads
        height, width, channels = network.shape
        layout: Any = {"memory_format": torch.channels_last}
        self._network = network.build_theirs().to(**layout)
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), NUMERIC["learning_rate"], weight_decay=1e-4
        )
        self._images = torch.randn(BATCH, channels, height, width).contiguous(**layout)
        self._labels = torch.randint(0, CLASSES, (BATCH,))
        self.train()
        self.forward()

    def train(self) -> None:
        """Does a step."""
        torch.set_num_threads(self._threads)
        self._network.train()
        loss = nn.functional.cross_entropy(self._network(self._images), self._labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def forward(self) -> None:
        """Runs the network on the batch."""
        torch.set_num_threads(self._threads)
        self._network.eval()
        with torch.inference_mode():
            self._network(self._images)


def convolve(channels: int, features: int, stride: int = 1) -> list[nn.Module]:
    """Builds a convolution of 3x3 pixels and its normalization."""
    convolution = nn.Conv2d(channels, features, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(features)]


def classify(features: int) -> list[nn.Module]:
    """Builds the average over all places and the output layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, CLASSES)]


def build_small_cnn() -> nn.Module:
    """Builds the small CNN."""
    return nn.Sequential(
        *(*convolve(1, 32), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(*convolve(32, 64), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(*convolve(64, 128), nn.ReLU(inplace=True), *classify(128)),
    )


class Block(nn.Module):
    """A residual block with a shortcut without parameters."""

    def __init__(self, channels: int, features: int):
        """Initialises it.

        Args:
            channels: Of what it sees.
            features: Of its result; more of them, for half the height and width.
        """
        super().__init__()
        self._stride, self._new = 1 if channels == features else 2, features - channels
        self._inner = nn.Sequential(
            *convolve(channels, features, self._stride),
            nn.ReLU(inplace=True),
            *convolve(features, features),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes [batch, features, height / stride, width / stride]."""
        shortcut = x[:, :, :: self._stride, :: self._stride]
        if self._new:
            shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self._new))
        return torch.relu_(self._inner(x) + shortcut)


def build_resnet_20() -> nn.Module:
    """Builds ResNet-20."""
    widths = [16] * 4 + [32] * 3 + [64] * 3
    blocks = [Block(*pair) for pair in itertools.pairwise(widths)]
    return nn.Sequential(*convolve(3, 16), nn.ReLU(inplace=True), *blocks, *classify(64))


NETWORKS = {
    "small CNN": Network({"name": "small_cnn"}, (28, 28, 1), build_small_cnn, 1.2),
    "ResNet-20": Network({"name": "resnet", "depth": 20}, (32, 32, 3), build_resnet_20, 1.5),
}


def measure(
    contenders: Mapping[str, LoneNetwork | Theirs], what: str
) -> dict[str, list[tuple[float, float]]]:
    """Measures milliseconds and processor milliseconds of a step, by contender and round.

    Args:
        contenders: Those who take turns.
        what: "train" or "forward".
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(ROUNDS):
        # Every other round backwards: what slowly changes falls on both ends.
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            contender = contenders[name]
            steps = contender.steps if what == "train" else 1
            used, start = time.process_time(), time.perf_counter()
            getattr(contender, what)()
            spent, used = time.perf_counter() - start, time.process_time() - used
            taken[name].append((1e3 * spent / steps, 1e3 * used / steps))
    return taken


def compare(name: str, network: Network) -> None:
    """Measures and prints all of a network."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *network.shape), np.uint8)
    model = models.build(network.settings, CLASSES)
    ours = LoneNetwork(model, images, OptimizerConfig(), NUMERIC)
    threads = sorted({1, torch.get_num_threads()})
    theirs = {f"torch, {n} thread(s)": Theirs(network, n) for n in threads}
    for what in WHAT:
        taken = measure({"lelp_jax": ours, **theirs}, what)
        # Of wall times and of processor times.
        ratios: list[float] = []
        for place in range(2):
            medians = {key: statistics.median(pair[place] for pair in taken[key]) for key in theirs}
            best = min(medians, key=medians.__getitem__)
            pairs = zip(taken["lelp_jax"], taken[best], strict=True)
            ratios.append(statistics.median(one[place] / two[place] for one, two in pairs))
        rows = [[f"{name}, {what}", "ms", "processor ms"]]
        rows += [
            [key, *(machine.spread([pair[place] for pair in pairs], 1) for place in range(2))]
            for key, pairs in taken.items()
        ]
        print(machine.table(rows))
        print(f"lelp_jax over the best of torch: {ratios[0]:.2f}; processor time {ratios[1]:.2f}")
        if what == "train":
            met = "met" if max(ratios) <= network.most else "MISSED"
            print(f"goal: at most {network.most:g} in both; {met}")
        print()
    print(f"{ours.steps} step(s) a dispatch, compiled in {ours.compile_seconds:.1f} s\n")


def main() -> None:
    """Measures and prints."""
    memory.keep_freed_memory()
    parallel.set_up()
    # Compile times are those of a first launch.
    jax.config.update("jax_enable_compilation_cache", False)
    print(machine.describe("jax", "jaxlib", "torch"))
    print(f"batch {BATCH}, float32; {ROUNDS} rounds, median [least - largest]\n")
    for name, network in NETWORKS.items():
        compare(name, network)


if __name__ == "__main__":
    main()
