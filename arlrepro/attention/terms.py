"""What the attention term of an ARL block does: how large it is, and what a trained network scores without it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from arlrepro.data.patches import Lesions
from arlrepro.models.attach import attention_blocks
from arlrepro.models.blocks.arl_block import MASK_FUNCTIONS, ResidualSum
from arlrepro.models.inference import Predictor
from arlrepro.models.structure import structure
from arlrepro.registry import classes_of


@dataclass
class BlockInputs:
    """What an ARL block adds up for one batch."""

    shortcut: Tensor  # x
    residual: Tensor  # F(x)


@contextmanager
def watched_blocks(network: nn.Module) -> Iterator[dict[str, BlockInputs]]:
    """Record shortcut and residual of every ARL block during a forward pass; the hooks are always removed again."""
    seen: dict[str, BlockInputs] = {}

    def watch(name: str, block: ResidualSum) -> torch.utils.hooks.RemovableHandle:
        def record(_module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
            seen[name] = BlockInputs(*block.parts(inputs[0]))

        return block.register_forward_hook(record)

    hooks = [watch(name, block) for name, block in attention_blocks(network).items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def alpha_of(block: ResidualSum) -> nn.Parameter:
    """α of a block that has the attention term."""
    assert block.alpha is not None
    return block.alpha


def mask_of(
    block: ResidualSum, residual: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch channels height width"]:
    """The mask that a block makes of its residual F(x), in float32."""
    return MASK_FUNCTIONS[block.mask](residual.float())


def terms(predictor: Predictor, lesions: Lesions) -> pd.DataFrame:
    r"""The size of each block's attention term beside what it is added to, for each lesion as a whole image.

    Returns:
        A row a lesion and block: `image_id`, `block`, `alpha`, `positions` (of the block's map), root mean squares
        `rms_shortcut` (:math:`x`), `rms_residual` (:math:`F`), `rms_attention` (:math:`\alpha M \odot x`),
        `mask_peak` (a mask's largest weight, the mean over channels) and `mask_mean` (the peak if it were flat).
    """
    measured = ["rms_shortcut", "rms_residual", "rms_attention", "mask_peak", "mask_mean"]
    columns = ["image_id", "block", "alpha", "positions", *measured]
    tables = []
    for ids, patches in predictor.whole_images(lesions):
        with predictor.computing() as network, watched_blocks(network) as seen:
            network(patches)
        for name, block in attention_blocks(predictor.network).items():
            x, f = seen[name].shortcut.float(), seen[name].residual.float()
            mask = mask_of(block, f)
            sizes = [one.square().mean(dim=(1, 2, 3)).sqrt() for one in (x, f, alpha_of(block).detach() * mask * x)]
            peaks = [mask.amax(dim=(2, 3)).mean(dim=1), mask.mean(dim=(1, 2, 3))]
            found = torch.stack([*sizes, *peaks], dim=1).double().cpu().numpy()
            table = pd.DataFrame(found, columns=measured)
            tables.append(
                table.assign(image_id=ids, block=name, alpha=alpha_of(block).item(), positions=f.shape[2] * f.shape[3])
            )
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def term_sizes(by_lesion: pd.DataFrame) -> pd.DataFrame:
    r"""The rows of `attention.csv`: `terms` over all lesions together.

    Returns:
        A row a block: `block`, `alpha`, `positions`, the root mean squares over the lesions, `ratio` (that of
        :math:`\alpha M \odot x` over that of :math:`x`), and the means of `mask_peak` and `mask_mean`.
    """
    sizes = ["rms_shortcut", "rms_residual", "rms_attention"]
    if by_lesion.empty:
        return pd.DataFrame(columns=["block", "alpha", "positions", *sizes, "ratio", "mask_peak", "mask_mean"])
    squared = by_lesion.assign(**{name: by_lesion[name] ** 2 for name in sizes})
    table = squared.drop(columns="image_id").groupby("block", sort=False).mean().reset_index()
    table[sizes] = table[sizes].astype(float) ** 0.5
    table.insert(6, "ratio", table["rms_attention"] / table["rms_shortcut"])
    return table.astype({"positions": int})


@contextmanager
def without_attention(network: nn.Module, blocks: list[str] | None = None) -> Iterator[nn.Module]:
    """Take the attention term out of a trained network for a while, from some blocks or from all.

    Args:
        network: its α are set to zero inside the block, and put back after it.
        blocks: names of ARL blocks; all of them if not given.
    """
    every = attention_blocks(network)
    chosen = {name: every[name] for name in (every if blocks is None else blocks)}
    kept = {name: alpha_of(block).detach().clone() for name, block in chosen.items()}
    try:
        for block in chosen.values():
            alpha_of(block).data.zero_()
        yield network
    finally:
        for name, block in chosen.items():
            alpha_of(block).data.copy_(kept[name])


class WithoutEach(nn.Module):
    """A network several times over: without its attention term in every block, and without it in each stage alone.

    It gives the logits side by side, `(patches, removals * outputs)`. What lies below a block does not depend on its
    term, so that part is computed once.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @property
    def removals(self) -> dict[str, list[str]]:
        """The blocks whose α is set to 0, by what the removal is called: `all`, a stage, or its only block."""
        stages: dict[str, list[str]] = {}
        for name in attention_blocks(self.network):
            stages.setdefault(name.rpartition(".")[0], []).append(name)
        alone = {names[0] if len(names) == 1 else stage: names for stage, names in stages.items()}
        return {"all": list(attention_blocks(self.network)), **alone} if alone else {}

    def forward(self, patches: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch logits"]:
        """Give the logits of every removal."""
        network, parts = self.network, structure(self.network)
        blocks = parts.blocks
        inputs = [parts.stem(patches)]
        for block in blocks[:-1]:
            inputs.append(block(inputs[-1]))
        places = {name: blocks.index(block) for name, block in attention_blocks(network).items()}
        logits = []
        for names in self.removals.values():
            first = min(places[name] for name in names)
            with without_attention(network, names):
                features = inputs[first]
                for block in blocks[first:]:
                    features = block(features)
            logits.append(parts.head(features))
        return torch.cat(logits, dim=1)


def removal(predictor: Predictor, lesions: Lesions) -> pd.DataFrame:
    """The scores of a trained network with its attention term removed, from all blocks and from those of each stage.

    Returns:
        A row a lesion and removal: `image_id`, `removed` (`all`, a stage or its only block), and a score in [0, 1] for
        each class the network scores. No rows for a network without ARL blocks.
    """
    classes = list(classes_of(predictor.experiment.task))
    without = WithoutEach(predictor.network)
    if not without.removals:
        return pd.DataFrame(columns=["image_id", "removed", *classes])
    scores = replace(predictor, network=without).scores(lesions)
    tables = []
    for removed, found in zip(without.removals, np.split(scores, len(without.removals), axis=1), strict=True):
        table = pd.DataFrame(found, columns=classes)
        table.insert(0, "image_id", lesions.image_ids)
        table.insert(1, "removed", removed)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
