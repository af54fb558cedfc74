"""Training passes as others take them: by the public ARL code, and of torchvision's ResNet as most people train it.

All compute in float32 and in PyTorch's contiguous layout.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

#: What the benchmark calls each.
PUBLIC_CODE, TORCHVISION = "the public ARL code's step", "torchvision's ResNet in float32"


class ChannelMaskBottleneck(Bottleneck):
    r"""The ARL block of the public code, re-stated: a softmax over channels, and a constant α.

    .. math:: y = \mathrm{ReLU}\bigl(F(x) + x + \alpha \, S \odot x\bigr), \qquad S = \mathrm{softmax}_c\, F(x)

    Source:
        The code of github.com/Vipermdl/ARL: PyTorch's `Softmax2d` at each position, α = 0.001, not learned.
    """

    alpha = 0.001

    def forward(self, x: Tensor) -> Tensor:
        """Add to the residual sum what the mask lets through of the shortcut."""
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(residual + shortcut + self.alpha * F.softmax(residual, dim=1) * shortcut)


def networks(bottlenecks: Sequence[int]) -> dict[str, nn.Module]:
    """The rivals' networks by what the benchmark calls them, with one output and new weights.

    Args:
        bottlenecks: in each stage.
    """
    return {
        PUBLIC_CODE: ResNet(ChannelMaskBottleneck, list(bottlenecks), num_classes=1),
        TORCHVISION: ResNet(Bottleneck, list(bottlenecks), num_classes=1),
    }


def made_batch(batch_size: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Patches of noise and their labels, every other one positive."""
    patches = torch.randn(batch_size, 3, side, side, device=device)
    return patches, (torch.arange(batch_size, device=device) % 2).float()[:, None]


def training_pass(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Callable[[], None]:
    """A pass of training steps: forward, backward and the optimiser, SGD with momentum, in float32.

    Args:
        network: trained in place, in contiguous layout.
        batches: of one pass, patches and labels.
        device: to train on.

    Returns:
        Takes the pass each time that it is called.
    """
    network = network.to(device).to(memory_format=torch.contiguous_format).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0001, momentum=0.9, weight_decay=1e-4)

    def take() -> None:
        for patches, truth in batches:
            loss = F.binary_cross_entropy_with_logits(network(patches.to(device)), truth.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return take
