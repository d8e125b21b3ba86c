"""Networks as others write them, with random weights: what LRP must be right on without a line for any one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Builder = Callable[[], nn.Module]


@dataclass(frozen=True)
class Entry:
    """A network of the zoo.

    Attributes:
        build: Returns it as its author initialises it.
        shape: Of its volumes, [N, C, D, H, W].
        conserving: The shape for which z+ conserves relevance, if that is another one.
    """

    build: Builder
    shape: tuple[int, ...]
    conserving: tuple[int, ...]


ZOO: dict[str, Entry] = {}


def entry(name: str, *shape: int, conserving: tuple[int, ...] | None = None) -> Callable[[Builder], Builder]:
    """Put a builder into the zoo."""

    def put(build: Builder) -> Builder:
        ZOO[name] = Entry(build, shape, conserving or shape)
        return build

    return put


def make(name: str) -> nn.Module:
    """Return a network with random weights, biases and statistics, in evaluation mode."""
    torch.manual_seed(sum(map(ord, name)))
    network = ZOO[name].build().eval()
    handles = []
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d | nn.BatchNorm1d):
                handles.append(module.register_forward_pre_hook(_randomise))
            elif isinstance(getattr(module, "weight", None), Tensor):
                fan_in = module.weight[0].numel()  # He et al. 2015: the signal keeps its size
                module.weight.mul_((2 / fan_in) ** 0.5 / module.weight.std())
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.1)
        network(volumes(name))
    for handle in handles:
        handle.remove()
    return network


def _randomise(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Give batch normalisation statistics of about the size of its input, as training would."""
    size = inputs[0].std()
    for values in (norm.weight, norm.running_var):
        nn.init.uniform_(values, 0.6, 1.4)
    for values in (norm.bias, norm.running_mean):
        nn.init.normal_(values, std=0.1)
    norm.running_var.mul_(size**2)
    norm.running_mean.mul_(size)


def without_biases(network: nn.Module) -> nn.Module:
    """Take the biases off a network; shifts of batch normalisation cancel its means."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d | nn.BatchNorm1d):
                scale = module.weight / (module.running_var + module.eps).sqrt()
                module.bias.copy_(module.running_mean * scale)
            elif isinstance(getattr(module, "bias", None), Tensor):
                nn.init.zeros_(module.bias)
    return network


def volumes(name: str, *, conserving: bool = False) -> Tensor:
    """Return float32 volumes for a network."""
    shape = ZOO[name].conserving if conserving else ZOO[name].shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(name)))


def _ours(depth: int, shortcut: str) -> nn.Module:
    from xai_models_resnet3d.plugin import ResNet3D

    return ResNet3D(depth=depth, shortcut=shortcut, width=32).build((1, 17, 19, 21), 3)  # type: ignore[arg-type]


for _depth in (10, 18, 34, 50):
    for _shortcut in "AB":
        entry(f"resnet3d-{_depth}-{_shortcut}", 1, 1, 17, 19, 21)(
            lambda depth=_depth, shortcut=_shortcut: _ours(depth, shortcut)
        )


def _monai(name: str, **arguments: Any) -> nn.Module:
    nets = pytest.importorskip("monai.networks.nets")
    return getattr(nets, name)(spatial_dims=3, **arguments)


for _name in ("resnet10", "resnet18", "resnet50"):
    entry(f"monai-{_name}", 1, 1, 17, 15, 19)(
        lambda name=_name: _monai(name, n_input_channels=1, num_classes=3, conv1_t_stride=2)
    )
entry("monai-densenet121", 1, 1, 33, 37, 35)(lambda: _monai("DenseNet121", in_channels=1, out_channels=3))
entry("monai-seresnet50", 1, 1, 33, 37, 35)(lambda: _monai("SEResNet50", in_channels=1, num_classes=3))
# Its last depthwise convolutions see one voxel of the small volume, and a neuron with one contribution that is negative
# has none that z+ could give relevance to. 18 voxels are enough.
entry("monai-efficientnet-b0", 1, 1, 33, 37, 35, conserving=(1, 1, 97, 99, 67))(
    lambda: _monai("EfficientNetBN", model_name="efficientnet-b0", pretrained=False, in_channels=1, num_classes=3)
)


def _video(name: str) -> nn.Module:
    from xai_core.engine.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    video = pytest.importorskip("torchvision.models.video")
    return getattr(video, name)(weights=None, num_classes=3)


for _name in ("r3d_18", "mc3_18", "r2plus1d_18"):
    entry(f"torchvision-{_name}", 1, 3, 5, 17, 19)(lambda name=_name: _video(name))


@entry("vgg", 1, 1, 17, 19, 18)
def _vgg() -> nn.Module:
    layers: list[nn.Module] = []
    before = 1
    for width in (16, 32, 64):
        for _ in range(2):
            layers += [nn.Conv3d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
            before = width
        layers.append(nn.MaxPool3d(2))
    layers += [nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(64, 64), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(64, 2))


def _mri_net(activation: Callable[[], nn.Module]) -> nn.Module:
    """Shape of the brain-age networks of Hofmann et al. 2022: one output, no batch normalisation in the blocks."""
    layers: list[nn.Module] = []
    before = 1
    for width in (16, 16, 32, 64):
        layers += [nn.Conv3d(before, width, 3, padding=1), activation(), nn.MaxPool3d(3, stride=2, padding=1)]
        before = width
    layers += [
        nn.Conv3d(64, 32, 1),
        activation(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 2 * 2 * 2, 64),
        activation(),
    ]
    return nn.Sequential(*layers, nn.Linear(64, 1))


entry("mrinet", 2, 1, 17, 21, 19)(lambda: _mri_net(nn.ReLU))
entry("mrinet-leaky", 2, 1, 17, 21, 19)(lambda: _mri_net(lambda: nn.LeakyReLU(0.2)))


class SFCN(nn.Module):
    """Shape of the simple fully convolutional network of Peng et al. 2021."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential()
        before = 1
        for index, width in enumerate((32, 64, 64, 96, 96)):
            block = [nn.Conv3d(before, width, 3, padding=1), nn.BatchNorm3d(width), nn.MaxPool3d(2, stride=2)]
            self.feature_extractor.add_module(f"conv_{index}", nn.Sequential(*block, nn.ReLU()))
            before = width
        last = nn.Sequential(nn.Conv3d(before, 64, 1), nn.BatchNorm3d(64), nn.ReLU())
        self.feature_extractor.add_module("conv_5", last)
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Dropout(0.5), nn.Conv3d(64, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.feature_extractor(x))
        return out.squeeze(4).squeeze(3).squeeze(2)


entry("sfcn", 1, 1, 33, 37, 35)(SFCN)


class UNet(nn.Module):
    """A U-Net with a pooled head: skips by concatenation, two ways up."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = self.block(1, 16), self.block(16, 32), self.block(32, 64)
        self.up2, self.up1 = nn.ConvTranspose3d(64, 32, 2, stride=2), nn.Conv3d(32, 16, 1)
        self.join2, self.join1 = self.block(64, 32), self.block(32, 16)
        self.head = nn.Linear(16, 2)

    @staticmethod
    def block(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(before, after, 3, padding=1, bias=False), nn.BatchNorm3d(after), nn.ReLU(inplace=True),
            nn.Conv3d(after, after, 3, padding=1, bias=False), nn.BatchNorm3d(after), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool3d(one, 2))
        y = self.up2(self.bottom(F.max_pool3d(two, 2)))
        missing = [two.shape[axis] - y.shape[axis] for axis in (4, 3, 2)]
        y = F.pad(y, [size for m in missing for size in (m // 2, m - m // 2)])
        y = self.join2(torch.cat([two, y], dim=1))
        y = F.interpolate(self.up1(y), size=one.shape[2:], mode="trilinear", align_corners=False)
        y = self.join1(torch.cat((y, one), 1))
        return self.head(F.adaptive_avg_pool3d(y, 1).flatten(1))


entry("unet", 1, 1, 9, 11, 13)(UNet)


class Encoder(nn.Module):
    """The encoder of a U-Net under a head, its features of all levels pooled, enlarged by the nearest value.

    The volume is normalised by the first layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalise, self.one, self.two = nn.BatchNorm3d(2), UNet.block(2, 16), UNet.block(16, 24)
        self.pool = nn.MaxPool3d(2)
        self.head = nn.Sequential(nn.Linear(40, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3))

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(self.normalise(x))
        two = F.interpolate(self.two(self.pool(one)), scale_factor=2, mode="nearest")
        return self.head(torch.cat([one[:, :, :-1, :-1, 1:], two], 1).mean(dim=(2, 3, 4)))


entry("unet-encoder", 2, 2, 9, 7, 11)(Encoder)


class Written(nn.Module):
    """A residual network in functions, with one ReLU and one layer for everything, and in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv3d(2, 16, 3, padding=1), nn.BatchNorm3d(16)
        self.again, self.act = nn.Conv3d(16, 16, 3, padding=1), nn.ReLU(inplace=True)
        self.down, self.down_norm = nn.Conv3d(16, 24, 3, stride=2, bias=False), nn.BatchNorm3d(24)
        self.side = nn.Conv3d(16, 24, 1, stride=2)
        self.fc = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        for _ in range(2):
            y = self.again(self.act(self.again(x)))
            y += x
            x = self.act(y)
        y = self.down_norm(self.down(F.pad(x, (1, 0, 0, 1, 1, 1))))
        size = [min(a, b) for a, b in zip(y.shape[2:], self.side(x).shape[2:], strict=True)]
        y = y[:, :, : size[0], : size[1], : size[2]] + self.side(x)[:, :, : size[0], : size[1], : size[2]]
        x = F.avg_pool3d(torch.relu_(y), 2)
        return self.fc(x.view(x.size(0), 24, -1).mean(-1))


entry("functional-reused-in-place", 2, 2, 7, 9, 8)(Written)


class PreActivated(nn.Module):
    """Normalisation before the layer (He et al. 2016b), dilation, groups, a strided transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, 32, (3, 3, 1), stride=(1, 2, 1), padding=(1, 0, 2))
        self.norm1, self.conv1 = nn.BatchNorm3d(32), nn.Conv3d(32, 32, 3, padding=2, dilation=2, groups=4, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm3d(32), nn.Conv3d(32, 32, 1)
        self.up = nn.ConvTranspose3d(32, 12, 3, stride=2, padding=1, output_padding=(1, 0, 1))
        self.up_norm = nn.BatchNorm3d(12)
        self.grouped, self.depthwise = nn.ConvTranspose3d(12, 12, 2, groups=3), nn.Conv3d(12, 24, 3, groups=12)
        self.fc = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        x = F.elu(self.up_norm(self.up(F.relu(x))))
        first, second = F.relu(self.grouped(x)).chunk(2, dim=1)
        x = F.relu6(self.depthwise(torch.cat([second, first], 1)))
        return self.fc(F.adaptive_max_pool3d(x, 1).flatten(1))


entry("pre-activated-dilated-grouped-transposed", 2, 1, 6, 9, 7)(PreActivated)


class Gated(nn.Module):
    """Squeeze and excitation as others write it: three gates and three smooth activations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv3d(1, 16, 3, bias=False), nn.BatchNorm3d(16)
        self.squeeze, self.excite = nn.Linear(16, 4), nn.Linear(4, 16)
        self.middle, self.last = nn.Conv3d(16, 16, 3, padding=1), nn.Conv3d(16, 24, 3, stride=2)
        self.attend, self.fc = nn.Conv3d(16, 1, 1), nn.Linear(24, 3)

    def gate(self, x: Tensor) -> Tensor:
        return self.excite(F.relu(self.squeeze(x.mean((2, 3, 4)))))[:, :, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x)))
        x = x * torch.sigmoid(self.gate(x))
        y = F.gelu(self.middle(x))
        x = x + F.hardsigmoid(self.gate(y)).expand_as(y) * y
        x = torch.sigmoid(self.attend(x)) * x
        x = F.hardswish(self.last(x))
        return self.fc(F.adaptive_avg_pool3d(x, (1, 1, 1)).flatten(1))


entry("gated", 2, 1, 7, 8, 9)(Gated)
