r"""The paper's patches as affine warps: crop, resize, rotation, zoom and flips in one sampling of the image.

A patch is a box in fractions of the image's side; a position :math:`u \in [-1, 1]^2` of the patch comes from

.. math:: p(u) = c + \frac{s}{2z} \, R(\theta) \, \mathrm{diag}(f_x, f_y) \, u

with centre :math:`c`, scale :math:`s`, zoom :math:`z`, rotation :math:`R(\theta)` and flips :math:`f = \pm 1`. Images
are square copies of rectangular originals, so a rotation acts on the resized patch, as in the public code of the
protocol. Boxes are drawn on the CPU, whatever the device, so that one seed gives the same patches everywhere;
:class:`Lesions` holds a split's images on the device where they are cut.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from arlrepro.config import EvaluationConfig, PatchConfig
from arlrepro.data import cache

Pixels = UInt8[Tensor, "images side side 3"]


@dataclass(frozen=True)
class Boxes:
    """Where patches lie, each a row; lengths in fractions of the image's side, angles in radians."""

    centre: Float[Tensor, "boxes 2"]  # x (to the right), y (down); 0.5 is the middle
    scale: Float[Tensor, " boxes"]  # side of the patch over side of the image, in (0, 1]
    zoom: Float[Tensor, " boxes"]  # above 1 shows less of the image
    angle: Float[Tensor, " boxes"]
    flip: Bool[Tensor, "boxes 2"]  # horizontally, vertically

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, rows: slice | Int[Tensor, " rows"] | Bool[Tensor, " rows"]) -> "Boxes":
        return Boxes(*(getattr(self, entry.name)[rows] for entry in fields(self)))


def _centres(scale: Float[Tensor, " boxes"], jitter: float, generator: torch.Generator) -> Float[Tensor, "boxes 2"]:
    """Centres drawn around the middle, by up to `jitter * scale`, with the whole patch inside the image."""
    reach = torch.minimum(jitter * scale, (1 - scale) / 2)
    return 0.5 + reach[:, None] * (2 * torch.rand(len(scale), 2, generator=generator) - 1)


def training_boxes(scale: Float[Tensor, " boxes"], config: PatchConfig, generator: torch.Generator) -> Boxes:
    """Draw an augmented box for each scale.

    Args:
        scale: of each patch, in (0, 1].
        config: how far centre, zoom and rotation go.
        generator: on the CPU.

    Returns:
        As many boxes as scales.
    """
    number = len(scale)
    spread = 2 * torch.rand(2, number, generator=generator) - 1
    return Boxes(
        centre=_centres(scale, config.jitter, generator),
        scale=scale,
        zoom=1 + config.zoom * spread[0],
        angle=math.radians(config.rotation_degrees) * spread[1],
        flip=(torch.rand(number, 2, generator=generator) < 0.5) & config.flips,
    )


def evaluation_boxes(config: PatchConfig, evaluation: EvaluationConfig) -> Boxes:
    """The fixed boxes that score every lesion in every run, without augmentation.

    Returns:
        `patches_per_scale` boxes at each scale and, if asked for, the whole image: nine by default.

    Example:
        >>> boxes = evaluation_boxes(PatchConfig(), EvaluationConfig())
        >>> len(boxes), boxes.scale[-1].item()
        (9, 1.0)
    """
    generator = torch.Generator().manual_seed(evaluation.seed)
    scale = torch.tensor(config.scales).repeat_interleave(evaluation.patches_per_scale)
    if evaluation.whole_image:
        scale = torch.cat([scale, torch.ones(1)])
    plain = torch.zeros(len(scale))
    return Boxes(
        _centres(scale, config.jitter, generator), scale, plain + 1, plain, torch.zeros(len(scale), 2, dtype=torch.bool)
    )


def epoch(
    images: int, patches_per_image: int, batch_size: int, config: PatchConfig, seed: int, number: int
) -> Iterator[tuple[Int[Tensor, " batch"], Boxes]]:
    """Draw an epoch: every image `patches_per_image` times, the scales in turn, lesions shuffled before patches.

    The draws depend on `(seed, number)` alone, so an epoch can be repeated after an interruption.

    Args:
        images: how many there are.
        patches_per_image: passes over the images in this epoch.
        batch_size: patches a batch; what is left at the end of the epoch is left out (batch norm needs a full batch).
        config: geometry and augmentation.
        seed: the run's.
        number: of the epoch, from 0.

    Yields:
        The images' indices and a box for each.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    scales = torch.tensor(config.scales)
    first_scale = torch.randint(len(scales), (images,), generator=generator)
    # Reason: batch norm sees 32 patches; taken lesion by lesion they would show few lesions.
    order = [torch.randperm(images, generator=generator) for _ in range(patches_per_image)]
    scale = [scales[(first_scale[one] + turn) % len(scales)] for turn, one in enumerate(order)]
    image, boxes = torch.cat(order), training_boxes(torch.cat(scale), config, generator)
    for start in range(0, len(image) - batch_size + 1, batch_size):
        rows = slice(start, start + batch_size)
        yield image[rows], boxes[rows]


def cut(
    pixels: Pixels, image: Int[Tensor, " boxes"], boxes: Boxes, config: PatchConfig
) -> Float[Tensor, "boxes 3 patch patch"]:
    """Sample the patches, anti-aliased where they shrink, and normalise them channel by channel.

    Only the pixels around each patch are touched, so the images may lie in a mapped file that is larger than memory.

    Args:
        pixels: square images, on any device.
        image: which image each box belongs to; on the CPU, as the boxes are.
        boxes: where the patches lie.
        config: side, mean and std.

    Returns:
        Patches in channels-last layout on the device of the images; about zero mean and unit variance a channel.
    """
    device = pixels.device
    patches = torch.empty((len(boxes), 3, config.side, config.side), device=device, memory_format=torch.channels_last)
    for scale in boxes.scale.unique():
        rows = (boxes.scale == scale).nonzero().squeeze(1)
        halvings = _halvings(pixels.shape[1], float(scale), config.side)
        patches[rows.to(device)] = _warp(pixels, halvings, image[rows], boxes[rows], config.side)
    mean, std = (torch.tensor(one, device=device).view(1, 3, 1, 1) for one in (config.mean, config.std))
    return patches.div_(255).sub_(mean).div_(std)


@dataclass(frozen=True)
class Lesions:
    """Images of one split, with their labels, in one order."""

    image_ids: tuple[str, ...]
    pixels: Pixels  # these images among others: on a CPU those of a mapped file, on a GPU no others
    rows: Int[Tensor, " lesions"]  # where each lies in `pixels`; on the CPU
    labels: Int[np.ndarray, "lesions classes"]  # 0 or 1, in the order of `registry.CLASSES`
    mapped: np.memmap | None = None  # the file that `pixels` are read from as they are looked at, where they are

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def device(self) -> torch.device:
        """Where the images are, and so the patches cut from them."""
        return self.pixels.device

    @classmethod
    def load(
        cls,
        image_ids: tuple[str, ...],
        pixels: UInt8[np.ndarray, "images side side 3"],
        labels: Int[np.ndarray, "lesions classes"],
        device: torch.device,
        rows: Int[np.ndarray, " lesions"] | None = None,
    ) -> "Lesions":
        """Decoded images for a device: put on a GPU whole, left where they are for a CPU, mapped file or not.

        Args:
            image_ids: of the lesions.
            pixels: these images, perhaps among others.
            labels: of the lesions, 0 or 1.
            device: of the network that will see them.
            rows: where each lesion lies in `pixels`; by default they are these lesions in their order.
        """
        where = np.arange(len(image_ids)) if rows is None else rows
        if device.type != "cpu":
            pixels, where = pixels[where], np.arange(len(where))
        with warnings.catch_warnings():
            # Reason: of a read-only mapped file PyTorch says that writing would be undefined; nobody writes.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            there = torch.from_numpy(pixels).to(device)
        return cls(image_ids, there, torch.from_numpy(where), labels, pixels if isinstance(pixels, np.memmap) else None)

    def at(self, rows: Int[np.ndarray, " rows"]) -> "Lesions":
        """Some of the lesions, in the order of the rows."""
        ids = tuple(self.image_ids[row] for row in rows)
        return Lesions(ids, self.pixels, self.rows[torch.from_numpy(rows)], self.labels[rows], self.mapped)

    def cut(
        self, lesion: Int[Tensor, " boxes"], boxes: Boxes, config: PatchConfig
    ) -> Float[Tensor, "boxes 3 patch patch"]:
        """Patches of the lesions, each box with the number of its lesion here; see `patches.cut`.

        Raises:
            DatasetError: the file that they are cut from was itself cut off since it was opened.
        """
        if self.mapped is not None:
            cache.require_whole(self.mapped)
        return cut(self.pixels, self.rows[lesion], boxes, config)


def _halvings(whole: int, scale: float, side: int) -> int:
    """How often an image can be reduced by 2 while a patch of this scale keeps as many pixels as it will be wide."""
    halvings = 0
    while whole % 2 == 0 and round(scale * (whole // 2)) >= side:
        whole, halvings = whole // 2, halvings + 1
    return halvings


def _reduced(crops: UInt8[Tensor, "*boxes _ _ 3"], halvings: int) -> UInt8[Tensor, "*boxes _ _ 3"]:
    """Crops reduced by 2 so often, to rounded means of 2 x 2 pixels; rows are added before columns, for speed."""
    for _ in range(halvings):
        rows = crops[..., ::2, :, :].to(torch.int16) + crops[..., 1::2, :, :]
        crops = (rows[..., ::2, :] + rows[..., 1::2, :]).float().div_(4).round_().to(torch.uint8)
    return crops


def _warp(
    pixels: Pixels, halvings: int, image: Int[Tensor, " boxes"], boxes: Boxes, side: int
) -> Float[Tensor, "boxes 3 patch patch"]:
    """Sample boxes of one scale from images reduced so often, touching only what is around each; in [0, 255]."""
    device, times = pixels.device, 2**halvings
    whole = pixels.shape[1] // times
    half = boxes.scale / (2 * boxes.zoom)
    reach = half * (boxes.angle.cos().abs() + boxes.angle.sin().abs())
    window = min(whole, 2 * math.ceil(float(reach.max()) * whole) + 4)
    corner = (boxes.centre * whole - window / 2).round().clamp(0, whole - window).long()
    windows = [
        pixels[i, y : y + window * times, x : x + window * times]
        for i, (x, y) in zip(image.tolist(), (corner * times).tolist(), strict=True)
    ]
    if device.type == "cpu":  # one by one they stay in the processor's cache; together they are few kernels on a GPU
        crops = torch.stack([_reduced(one, halvings) for one in windows])
    else:
        crops = _reduced(torch.stack(windows), halvings)

    # Positions of the patch's samples, in the crop's own [-1, 1]; `samples` a pixel and side average to its value.
    # Reason: bilinear sampling itself averages over two pixels, enough for what the zoom alone makes a patch shrink.
    samples = math.ceil(float(half.max()) * 2 * whole / side - 0.12)
    cos, sin = boxes.angle.cos() * half, boxes.angle.sin() * half
    sign = 1 - 2 * boxes.flip.float()
    middle = boxes.centre - corner / whole
    affine = torch.stack(
        [
            torch.stack([cos * sign[:, 0], -sin * sign[:, 1], middle[:, 0] - window / whole / 2], dim=1),
            torch.stack([sin * sign[:, 0], cos * sign[:, 1], middle[:, 1] - window / whole / 2], dim=1),
        ],
        dim=1,
    ) * (2 * whole / window)
    fine = side * max(samples, 1)
    grid = F.affine_grid(affine.to(device), [len(boxes), 3, fine, fine], align_corners=False)
    values = F.grid_sample(
        crops.permute(0, 3, 1, 2).float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return F.avg_pool2d(values, samples) if samples > 1 else values
