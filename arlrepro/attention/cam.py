"""Where a network looks: class activation maps, gradient maps of any layer (Captum), the masks of the ARL blocks.

All maps come batched, at the resolution of their layer; `enlarged` brings them to the side of the image.
"""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from arlrepro.attention.terms import mask_of, watched_blocks
from arlrepro.data.patches import Lesions
from arlrepro.errors import ConfigError
from arlrepro.models.attach import attention_blocks
from arlrepro.models.inference import Predictor
from arlrepro.models.structure import structure
from arlrepro.registry import classes_of

Maps = Float[Tensor, "batch height width"]
Patches = Float[Tensor, "batch 3 side side"]
KINDS = ("grad_cam", "hires_cam", "integrated_gradients")
#: Finer maps are averaged over neighbours before they are archived.
FINEST = 16
#: Points on the way from a black image to the image, for `integrated_gradients`.
INTEGRATION_STEPS = 16


def class_activation_maps(network: nn.Module, patches: Patches) -> Float[Tensor, "batch outputs height width"]:
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
    parts = structure(network)
    hook = parts.last_map.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    try:
        with torch.inference_mode():
            network(patches)
    finally:
        hook.remove()
    with torch.autocast(patches.device.type, enabled=False):
        weight = parts.classifier.weight.detach()
        return torch.einsum("kc,bchw->bkhw", weight, features[0].to(weight.dtype))


def gradient_maps(
    network: nn.Module, patches: Patches, layer: str, kind: str = "grad_cam", relu: bool = True
) -> Float[Tensor, "batch outputs height width"]:
    r"""What the positions of a layer's output contribute to each logit, by its gradients :math:`g`; in float32.

    .. math::
        \text{grad\_cam: } \textstyle\sum_c \bigl(\tfrac{1}{HW} \sum_{i',j'} g_{c,i',j'}\bigr) f_{c,i,j}, \qquad
        \text{hires\_cam: } \textstyle\sum_c g_{c,i,j} \, f_{c,i,j}

    and `integrated_gradients` is the second with :math:`g` averaged on the way from an image of the mean colour.

    Args:
        network: any; put into evaluation mode.
        patches: normalised, on the network's device.
        layer: name of any module whose output is `(batch, channels, height, width)`, for example `layer3` or
            `layer2.0.conv2`.
        kind: one of `KINDS`.
        relu: set to 0 what speaks against the class, as Grad-CAM is published.

    Raises:
        ConfigError: there is no such layer or kind, or the layer's output is not a map.

    Source:
        Selvaraju et al.: Grad-CAM, ICCV 2017; Draelos and Carin: HiResCAM, arXiv 2011.08891; Sundararajan, Taly, Yan:
        Axiomatic attribution for deep networks, ICML 2017; as Captum has them.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of map {kind!r}; known: {', '.join(KINDS)}")
    try:
        module = network.get_submodule(layer)
    except AttributeError as error:
        names = ", ".join(name for name, _ in network.named_children())
        raise ConfigError(f"no layer {layer!r} in the network; there are {names}, and those inside them") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum's progress bar misses ipywidgets, which no page here may need
        from captum.attr import LayerGradCam, LayerGradientXActivation, LayerIntegratedGradients

    network.eval()
    with torch.enable_grad(), _nothing_in_place(network):
        outputs = network(patches[:1]).shape[1]
        found = []
        for output in range(outputs):
            if kind == "grad_cam":
                one = LayerGradCam(network, module).attribute(patches, target=output)
            elif kind == "hires_cam":
                one = LayerGradientXActivation(network, module).attribute(patches, target=output)
            else:
                one = LayerIntegratedGradients(network, module).attribute(
                    patches, target=output, n_steps=INTEGRATION_STEPS, internal_batch_size=len(patches)
                )
            if one.ndim != 4:
                raise ConfigError(f"layer {layer!r} gives {tuple(one.shape[1:])} an image, which is no map")
            found.append(one.detach().sum(dim=1))  # over the channels; Grad-CAM has one
    maps = torch.stack(found, dim=1)
    return maps.relu() if relu else maps


@contextmanager
def _nothing_in_place(network: nn.Module) -> Iterator[None]:
    """Let every ReLU write to a place of its own for a while: in place, it would change what a layer before it gave."""
    changed = [module for module in network.modules() if isinstance(module, nn.ReLU) and module.inplace]
    try:
        for module in changed:
            module.inplace = False
        yield
    finally:
        for module in changed:
            module.inplace = True


def mask_maps(network: nn.Module, patches: Patches) -> dict[str, Maps]:
    """The mask of each ARL block, the mean over its channels, in units of its own mean over the positions.

    Where the softmax runs over the positions, 1 is what a flat mask would have. No entry for a ResNet.
    """
    network.eval()
    with torch.inference_mode(), watched_blocks(network) as seen:
        network(patches)
    blocks = attention_blocks(network)
    means = {name: mask_of(blocks[name], inputs.residual).mean(dim=1) for name, inputs in seen.items()}
    return {name: mean / mean.mean(dim=(1, 2), keepdim=True) for name, mean in means.items()}


def enlarged(maps: Maps, side: int) -> Float[Tensor, "batch {side} {side}"]:
    """Maps at the side of an image, bilinearly."""
    return F.interpolate(maps[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def captum_is_here() -> bool:
    """Whether gradient maps can be made here: training does without Captum."""
    return importlib.util.find_spec("captum") is not None


def maps_of(predictor: Predictor, lesions: Lesions) -> pd.DataFrame:
    """Maps of whole images, as numbers small enough to archive; those finer than 16 x 16 averaged over neighbours.

    Returns:
        A row a lesion, map and position: `image_id`, `map`, `row`, `column`, `value`. A map is called after its class
        (class activation), after its ARL block (the mask, in units of a flat one), or `grad_cam.` and a stage (of the
        mean of the outputs; only where Captum is installed).
    """
    tables = []
    for ids, patches in predictor.whole_images(lesions):
        with predictor.computing() as network:
            activation = class_activation_maps(network, patches)
            found = dict(zip(classes_of(predictor.experiment.task), activation.unbind(dim=1), strict=True))
            found |= mask_maps(network, patches)
        if captum_is_here():
            for stage in structure(network).stages:
                signed = gradient_maps(network, patches, stage, relu=False)
                found[f"grad_cam.{stage}"] = signed.mean(dim=1).relu()
        for name, values in found.items():
            small = F.adaptive_avg_pool2d(values.float(), min(FINEST, values.shape[1]))
            where = pd.MultiIndex.from_product(
                [ids, [name], range(small.shape[1]), range(small.shape[2])],
                names=["image_id", "map", "row", "column"],
            )
            tables.append(pd.DataFrame({"value": small.flatten().cpu().numpy()}, index=where).reset_index())
    return pd.concat(tables, ignore_index=True)
