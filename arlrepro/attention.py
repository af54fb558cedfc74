"""What the attention term does and where a network looks: class activation maps, ARL masks, sizes, removal."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchvision.models import ResNet

from arlrepro.config import EvaluationConfig, Experiment, PatchConfig, classes_of
from arlrepro.models import ARLBlock
from arlrepro.patches import Boxes, cut, evaluation_boxes
from arlrepro.precision import autocast
from arlrepro.predict import Lesions, score

#: Lesions measured at once; it bounds the memory and does not change the figures.
BATCH = 32


def arl_blocks(network: nn.Module) -> dict[str, ARLBlock]:
    """The ARL blocks by name, in the order in which an image passes them; none in a ResNet."""
    return {name: block for name, block in network.named_modules() if isinstance(block, ARLBlock)}


def whole_image(config: PatchConfig) -> Boxes:
    """The one box that shows the whole image: what every map here is drawn over."""
    return evaluation_boxes(config, EvaluationConfig(patches_per_scale=0))


def _batches(lesions: Lesions, config: PatchConfig) -> Iterator[tuple[np.ndarray, Float[Tensor, "batch 3 side side"]]]:
    """The lesions as whole-image patches, with their rows."""
    box = whole_image(config)
    for start in range(0, len(lesions), BATCH):
        image = torch.arange(start, min(start + BATCH, len(lesions)))
        yield image.numpy(), cut(lesions.levels, image, box[torch.zeros(len(image), dtype=torch.long)], config)


def class_activation_maps(
    network: ResNet, patches: Float[Tensor, "batch 3 side side"]
) -> Float[Tensor, "batch outputs height width"]:
    r"""Split each logit over the positions of the last feature map.

    .. math:: A_{k,i,j} = \textstyle\sum_c w_{k,c} \, f_{c,i,j}, \qquad
        \mathrm{logit}_k = b_k + \tfrac{1}{HW} \textstyle\sum_{i,j} A_{k,i,j}

    Args:
        network: with global average pooling and one classification layer; put into evaluation mode.
        patches: normalised, on the network's device.

    Returns:
        The maps, at the resolution of the last stage; negative where a position speaks against the class.

    Source:
        Zhou, Khosla, Lapedriza, Oliva, Torralba: Learning deep features for discriminative localization, CVPR 2016.
    """
    network.eval()
    features: list[Tensor] = []
    hook = network.layer4.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    try:
        with torch.inference_mode():
            network(patches)
    finally:
        hook.remove()
    with torch.autocast(patches.device.type, enabled=False):
        return torch.einsum("kc,bchw->bkhw", network.fc.weight.detach(), features[0])


def share_inside(
    maps: Float[Tensor, "batch height width"], masks: Bool[Tensor, "batch side side"]
) -> Float[Tensor, " batch"]:
    """Share of a map's energy that lies inside the lesion, the map's lowest value counted as none.

    Args:
        maps: any real values; bilinearly enlarged to the masks.
        masks: True inside the lesion.

    Returns:
        In [0, 1]; NaN where the map is flat. A map that ignores the lesion gets the lesion's share of the area.

    Example:
        >>> inside = torch.tensor([[[True, True], [False, False]]])
        >>> share_inside(torch.tensor([[[3.0, 4.0], [1.0, 1.0]]]), inside)
        tensor([1.])
    """
    energy = maps - maps.amin(dim=(1, 2), keepdim=True)
    energy = F.interpolate(energy[:, None], size=masks.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return (energy * masks).sum(dim=(1, 2)) / energy.sum(dim=(1, 2))


def focus(
    network: ResNet, lesions: Lesions, masks: Bool[np.ndarray, "lesions side side"], experiment: Experiment
) -> pd.DataFrame:
    """Where a network looks: how much of each lesion's class activation map lies inside its mask.

    The map is the mean of the network's outputs' maps, of the whole image.

    Returns:
        A row a lesion: `image_id`, `area` (the mask's share of the image), `share` (of the map's energy inside it),
        `peak_inside` (1 if the map's highest point is inside, the pointing game).
    """
    rows = []
    for image, patches in _batches(lesions, experiment.patches):
        with autocast(patches.device, experiment.train.precision):
            maps = class_activation_maps(network, patches).mean(dim=1)
        inside = torch.from_numpy(np.ascontiguousarray(masks[image])).to(maps.device)
        enlarged = F.interpolate(maps[:, None], size=inside.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        peak = enlarged.flatten(1).argmax(dim=1, keepdim=True)
        rows.append(
            pd.DataFrame(
                {
                    "image_id": [lesions.image_ids[i] for i in image],
                    "area": inside.float().mean(dim=(1, 2)).cpu().numpy(),
                    "share": share_inside(maps, inside).cpu().numpy(),
                    "peak_inside": inside.flatten(1).gather(1, peak).squeeze(1).int().cpu().numpy(),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


@dataclass
class BlockInputs:
    """What an ARL block adds up for one batch."""

    shortcut: Tensor  # x
    residual: Tensor  # F(x)


@contextmanager
def watched_blocks(network: nn.Module) -> Iterator[dict[str, BlockInputs]]:
    """Record shortcut and residual of every ARL block during a forward pass; the hooks are always removed again."""
    seen: dict[str, BlockInputs] = {}

    def watch(name: str, block: ARLBlock) -> torch.utils.hooks.RemovableHandle:
        def record(_module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
            seen[name] = BlockInputs(block.shortcut(inputs[0]), block.residual(inputs[0]))

        return block.register_forward_hook(record)

    hooks = [watch(name, block) for name, block in arl_blocks(network).items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def term_sizes(network: nn.Module, lesions: Lesions, experiment: Experiment) -> pd.DataFrame:
    r"""The size of each block's attention term beside what it is added to, over whole images.

    Returns:
        A row a block: `block`, `alpha`, `positions` (of its map), root mean squares `rms_shortcut` (:math:`x`),
        `rms_residual` (:math:`F`), `rms_attention` (:math:`\alpha M \odot x`), `ratio` (the last over the first) and
        `mask_peak` (the mean over channels and lesions of a mask's largest weight; 1/positions if it were flat).
    """
    network.eval()
    columns = ["shortcut", "residual", "attention"]
    squares = {name: np.zeros(4) for name in arl_blocks(network)}
    positions = dict.fromkeys(squares, 0)
    for image, patches in _batches(lesions, experiment.patches):
        with (
            torch.inference_mode(),
            autocast(patches.device, experiment.train.precision),
            watched_blocks(network) as seen,
        ):
            network(patches)
            for name, block in arl_blocks(network).items():
                x, f = seen[name].shortcut.float(), seen[name].residual.float()
                mask = block.mask(f)
                positions[name] = f.shape[2] * f.shape[3]
                sizes = [one.square().mean().item() for one in (x, f, block.alpha * mask * x)]
                squares[name] += len(image) * np.array([*sizes, mask.amax(dim=(2, 3)).mean().item()])
    rows = []
    for name, block in arl_blocks(network).items():
        rms = np.sqrt(squares[name][:3] / len(lesions))
        rows.append(
            {
                "block": name,
                "alpha": block.alpha.item(),
                "positions": positions[name],
                **{f"rms_{column}": value for column, value in zip(columns, rms, strict=True)},
                "ratio": rms[2] / rms[0],
                "mask_peak": squares[name][3] / len(lesions),
            }
        )
    names = ["block", "alpha", "positions", *(f"rms_{one}" for one in columns), "ratio", "mask_peak"]
    return pd.DataFrame(rows, columns=names)


@contextmanager
def without_attention(network: nn.Module, blocks: list[str] | None = None) -> Iterator[nn.Module]:
    """Take the attention term out of a trained network for a while, from some blocks or from all.

    Args:
        network: its α are set to zero inside the block, and put back after it.
        blocks: names of ARL blocks; all of them if not given.
    """
    every = arl_blocks(network)
    chosen = {name: every[name] for name in (every if blocks is None else blocks)}
    kept = {name: block.alpha.detach().clone() for name, block in chosen.items()}
    try:
        for block in chosen.values():
            block.alpha.data.zero_()
        yield network
    finally:
        for name, block in chosen.items():
            block.alpha.data.copy_(kept[name])


def removal(network: nn.Module, lesions: Lesions, experiment: Experiment) -> pd.DataFrame:
    """The scores of a trained network with its attention term removed, from all blocks and from each.

    Returns:
        A row a lesion and removal: `image_id`, `removed` (`all` or a block's name), and a score in [0, 1] for each
        class the network scores. No rows for a network without ARL blocks.
    """
    boxes = evaluation_boxes(experiment.patches, experiment.evaluation)
    classes = list(classes_of(experiment.task))
    names = list(arl_blocks(network))
    tables = []
    for removed, blocks in {"all": names, **{name: [name] for name in names}}.items() if names else ():
        with without_attention(network, blocks):
            scores = score(network, lesions, boxes, experiment.patches, experiment.train.precision)
        table = pd.DataFrame(scores, columns=classes)
        table.insert(0, "image_id", lesions.image_ids)
        table.insert(1, "removed", removed)
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["image_id", "removed", *classes])


def maps_of(network: ResNet, lesions: Lesions, experiment: Experiment) -> pd.DataFrame:
    """Class activation maps and ARL masks of whole images, as numbers small enough to archive.

    Returns:
        A row a lesion, map and position: `image_id`, `map` (a class, or an ARL block's name), `row`, `column`, `value`.
        A block's mask is averaged over its channels and, where it is finer than 16 x 16, over neighbours; divided
        by its mean, so that 1 is what a flat mask would have.
    """
    tables = []
    for image, patches in _batches(lesions, experiment.patches):
        with autocast(patches.device, experiment.train.precision), watched_blocks(network) as seen:
            activation = class_activation_maps(network, patches)
            found = dict(zip(classes_of(experiment.task), activation.unbind(dim=1), strict=True))
            for name, inputs in seen.items():
                mask = arl_blocks(network)[name].mask(inputs.residual.float()).mean(dim=1)
                mask = mask / mask.mean(dim=(1, 2), keepdim=True)
                found[name] = F.adaptive_avg_pool2d(mask, min(16, mask.shape[1]))
        for name, values in found.items():
            where = pd.MultiIndex.from_product(
                [[lesions.image_ids[i] for i in image], [name], range(values.shape[1]), range(values.shape[2])],
                names=["image_id", "map", "row", "column"],
            )
            tables.append(pd.DataFrame({"value": values.flatten().cpu().numpy()}, index=where).reset_index())
    return pd.concat(tables, ignore_index=True)
