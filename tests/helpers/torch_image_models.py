"""The families for images, written again in PyTorch, with layers named as flax names them."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> Any:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


class Network(nn.Module):
    """Adds `Convolution_0`, `BatchNorm_0`, ... in the order in which they are made."""

    def add(self, kind: str, layer: nn.Module) -> nn.Module:
        number = sum(name.startswith(kind) for name in self._modules)
        self.add_module(f"{kind}_{number}", layer)
        return layer

    def conv(self, *sizes: int) -> nn.Module:
        return self.add("Convolution", convolution(*sizes))

    def norm(self, channels: int, groups: int = 0) -> nn.Module:
        if groups:
            return self.add("GroupNorm", nn.GroupNorm(groups, channels))
        return self.add("BatchNorm", nn.BatchNorm2d(channels))

    def classify(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.head(embedding), embedding


class SmallCNN(Network):
    def __init__(self, widths: tuple[int, ...], groups: tuple[int, ...] = ()):
        super().__init__()
        sizes = zip((3, *widths), widths, strict=False)
        self.convs = tuple(self.conv(*pair) for pair in sizes)
        self.norms = tuple(map(self.norm, widths, groups or [0] * len(widths)))
        self.head = nn.Linear(widths[-1], 2)

    def forward(self, x):
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if number and min(x.shape[2:]) > 3:
                x = functional.max_pool2d(x, 2)
            x = norm(conv(x)).relu()
        return self.classify(x)


class BasicBlock(Network):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.new = stride, outputs - inputs
        self.first, self.second = self.conv(inputs, outputs, 3, stride), self.conv(outputs, outputs)
        self.norms = self.norm(outputs), self.norm(outputs)

    def forward(self, x):
        y = self.norms[1](self.second(self.norms[0](self.first(x)).relu()))
        return (y + pad(x, self.stride, self.new)).relu()


class Bottleneck(Network):
    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.stride, self.new = stride, 4 * width - inputs
        sizes = [(inputs, width, 1), (width, width, 3, stride), (width, 4 * width, 1)]
        self.convs = tuple(self.conv(*entry) for entry in sizes)
        self.norms = tuple(map(self.norm, (width, width, 4 * width)))

    def forward(self, x):
        y = self.norms[0](self.convs[0](x)).relu()
        y = self.norms[1](self.convs[1](y)).relu()
        y = self.norms[2](self.convs[2](y))
        return (y + pad(x, self.stride, self.new)).relu()


def pad(x: torch.Tensor, stride: int, new: int) -> torch.Tensor:
    kept = functional.avg_pool2d(x, 1, stride)  # Every stride-th place.
    return torch.cat([kept, kept.new_zeros(len(x), new, *kept.shape[2:])], dim=1)


class ResNet(Network):
    def __init__(self, blocks: int, width: int, bottleneck: bool):
        super().__init__()
        self.first, self.first_norm = self.conv(3, width), self.norm(width)
        channels, self.blocks = width, []
        for stage in range(3):
            for number in range(blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                block = (Bottleneck if bottleneck else BasicBlock)(
                    channels, width * 2**stage, stride
                )
                channels += block.new
                self.add_module(f"stage_{stage}_block_{number}", block)
                self.blocks.append(block)
        self.head = nn.Linear(channels, 2)

    def forward(self, x):
        x = self.first_norm(self.first(x)).relu()
        return self.classify(nn.Sequential(*self.blocks)(x))


class WideBlock(Network):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norms = self.norm(inputs), self.norm(outputs)
        self.first, self.second = self.conv(inputs, outputs, 3, stride), self.conv(outputs, outputs)
        self.shortcut = self.conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x):
        active = self.norms[0](x).relu()
        y = self.second(self.norms[1](self.first(active)).relu())
        return y + (self.shortcut(active) if self.shortcut else x)


class WideResNet(Network):
    def __init__(self, blocks: int, width: int):
        super().__init__()
        self.first, channels, self.blocks = self.conv(3, 16), 16, []
        for stage in range(3):
            for number in range(blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                block = WideBlock(channels, 16 * 2**stage * width, stride)
                channels = 16 * 2**stage * width
                self.add_module(f"stage_{stage}_block_{number}", block)
                self.blocks.append(block)
        self.last, self.head = self.norm(channels), nn.Linear(channels, 2)

    def forward(self, x):
        return self.classify(self.last(nn.Sequential(*self.blocks)(self.first(x))).relu())


class MobileNet(Network):
    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...]):
        """Takes channels and strides of the first convolution and of the 13 pairs."""
        super().__init__()
        layers = [self.conv(3, channels[0], 3, strides[0]), self.norm(channels[0]), nn.ReLU()]
        for inputs, outputs, stride in zip(channels, channels[1:], strides[1:], strict=False):
            layers += [self.conv(inputs, inputs, 3, stride, inputs), self.norm(inputs), nn.ReLU()]
            layers += [self.conv(inputs, outputs, 1), self.norm(outputs), nn.ReLU()]
        self.layers, self.head = tuple(layers), nn.Linear(channels[-1], 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.classify(x)


class InvertedResidual(Network):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        inside, layers = expansion * inputs, []
        if expansion != 1:
            layers += [self.conv(inputs, inside, 1), self.norm(inside), nn.ReLU6()]
        layers += [self.conv(inside, inside, 3, stride, inside), self.norm(inside), nn.ReLU6()]
        layers += [self.conv(inside, outputs, 1), self.norm(outputs)]
        self.layers, self.added = tuple(layers), stride == 1 and inputs == outputs

    def forward(self, x):
        y = x
        for layer in self.layers:
            y = layer(y)
        return x + y if self.added else y


class MobileNetV2(Network):
    def __init__(self, stages: list[tuple[int, int, int, int]], first: tuple[int, int], last: int):
        """Takes expansion, channels, blocks and stride per stage; the ends' channels and stride."""
        super().__init__()
        channels, stride = first
        self.first = self.conv(3, channels, 3, stride), self.norm(channels), nn.ReLU6()
        self.blocks = []
        for stage, (expansion, outputs, blocks, stride) in enumerate(stages):
            for number in range(blocks):
                block = InvertedResidual(channels, outputs, 1 if number else stride, expansion)
                channels = outputs
                self.add_module(f"stage_{stage}_block_{number}", block)
                self.blocks.append(block)
        self.last = self.conv(channels, last, 1), self.norm(last), nn.ReLU6()
        self.head = nn.Linear(last, 2)

    def forward(self, x):
        for layer in (*self.first, *self.blocks, *self.last):
            x = layer(x)
        return self.classify(x)


def pair_tensors(network: nn.Module, gradients: bool = False) -> dict[str, np.ndarray]:
    """Lists parameters, or their gradients, by their flax path and in flax's layout."""
    found = {}
    for path, layer in network.named_modules():
        where = path.replace(".", "/")
        for name, tensor in layer.named_parameters(recurse=False):
            values = (tensor.grad if gradients else tensor).detach().numpy()
            if isinstance(layer, nn.Conv2d):
                found[f"{where}/kernel"] = values.transpose(2, 3, 1, 0)
            elif isinstance(layer, nn.Linear) and name == "weight":
                found[f"{where}/kernel"] = values.T
            else:
                found[f"{where}/{'scale' if name == 'weight' else name}"] = values
    return found


def pair_statistics(network: nn.Module) -> dict[str, np.ndarray]:
    """Lists running averages by their flax path."""
    return {
        f"{path.replace('.', '/')}/{name}": getattr(layer, f"running_{name}").numpy()
        for path, layer in network.named_modules()
        if isinstance(layer, nn.BatchNorm2d)
        for name in ("mean", "var")
    }
