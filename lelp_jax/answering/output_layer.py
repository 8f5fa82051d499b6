"""Finds the last linear layer of a PyTorch classifier, by what it computes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from lelp_jax.core.errors import UserError

# Relative to the largest logit: float32 sums of some thousand products differ by less.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class OutputLayer:
    """The linear layer whose outputs are the logits.

    Attributes:
        name: Its name in the model.
        linear: The layer.
    """

    name: str
    linear: torch.nn.Linear

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Reads weights [dims, outputs] and bias [outputs], float32."""
        weight = self.linear.weight.detach().float().cpu().numpy()
        bias = np.zeros(len(weight), np.float32)
        if self.linear.bias is not None:
            bias = self.linear.bias.detach().float().cpu().numpy()
        return np.ascontiguousarray(weight.T), bias

    def observe(self, forward: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs a forward pass and takes what the layer sees.

        Args:
            forward: Computes logits, [rows, outputs].

        Returns:
            Embeddings [rows, dims] and logits [rows, outputs].

        Raises:
            UserError: The layer's outputs are not the logits.
        """
        with _record({self.name: self.linear}) as calls:
            logits = forward()
        embeddings = _select_inputs(*calls[self.name], logits) if self.name in calls else None
        if embeddings is None:
            raise UserError(
                f"the outputs of {self.name} are not the model's logits for every batch; its "
                "embedding cannot be told"
            )
        return embeddings, logits


def find(model: torch.nn.Module, forward: Callable[[], torch.Tensor]) -> OutputLayer:
    """Finds the linear layer whose outputs are the logits, and checks it numerically.

    Args:
        model: The model.
        forward: Runs it on some texts and gives the logits, [rows, outputs].

    Raises:
        UserError: There is no such layer.
    """
    linears = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    with _record(linears) as calls:
        logits = forward()
    if not bool(torch.isfinite(logits).all()):
        raise UserError(
            "the model's logits are not finite for the first text tried; check the weights"
        )
    # The last one called, should several give the same.
    for name in reversed(calls):
        embeddings = _select_inputs(*calls[name], logits)
        if embeddings is not None:
            layer = OutputLayer(name, linears[name])
            _check(layer, embeddings, logits)
            return layer
    last = f", the last of which is {next(reversed(calls))}" if calls else ""
    raise UserError(
        f"no linear layer of {type(model).__name__} has the logits as its outputs (it called "
        f"{len(calls)} linear layers{last}); save embeddings, logits and output weights yourself, "
        "as docs/own_teacher.md shows"
    )


def _check(layer: OutputLayer, embeddings: torch.Tensor, logits: torch.Tensor) -> None:
    """Checks that embeddings times weights plus bias are the logits."""
    weights, bias = layer.weights()
    found = embeddings.double().cpu().numpy() @ weights.astype(np.float64) + bias
    wanted = logits.double().cpu().numpy()
    difference = float(np.abs(found - wanted).max())
    if not difference <= _TOLERANCE * (1 + float(np.abs(wanted).max())):
        raise UserError(
            f"the inputs of {layer.name} times its weights differ from the logits by "
            f"{difference:.3g}; the layer is more than linear, so save embeddings, logits and "
            "output weights yourself, as docs/own_teacher.md shows"
        )


@contextlib.contextmanager
def _record(
    linears: dict[str, torch.nn.Linear],
) -> Iterator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Records inputs and outputs of layers, in the order of their last calls."""
    calls: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def make_hook(name: str) -> Any:
        def hook(module: Any, inputs: tuple[torch.Tensor, ...], outputs: torch.Tensor) -> None:
            del module
            calls.pop(name, None)
            calls[name] = inputs[0], outputs

        return hook

    handles = [module.register_forward_hook(make_hook(name)) for name, module in linears.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _select_inputs(
    inputs: torch.Tensor, outputs: torch.Tensor, logits: torch.Tensor
) -> torch.Tensor | None:
    """Selects the inputs [rows, dims] whose outputs are the logits; None if there are none.

    Decoders compute outputs for every token, [rows, tokens, outputs], and pick one token of each
    text: the one whose outputs are the row's logits.
    """
    if outputs.shape == logits.shape:
        return inputs if bool(_equal(outputs, logits).all()) else None
    if outputs.ndim != 3 or (outputs.shape[0], outputs.shape[2]) != tuple(logits.shape):
        return None
    same = _equal(outputs, logits[:, None]).all(dim=2)
    if not bool(same.any(dim=1).all()):
        return None
    rows = torch.arange(len(inputs), device=inputs.device)
    return inputs[rows, same.int().argmax(dim=1)]


def _equal(outputs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Compares values, NaN with NaN, too: a row that is not finite is reported by its place."""
    logits = logits.to(outputs.dtype)
    return (outputs == logits) | (outputs.isnan() & logits.isnan())
