"""Whole training epochs, data included, beside what people do today; and how much memory a training takes."""

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from arlrepro.config import Experiment
from arlrepro.data.patches import Lesions
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.models.arl_cnn import BOTTLENECKS, create
from arlrepro.profiles import PAPER
from arlrepro.registry import NETWORKS
from arlrepro.training.trainer import train
from benchmarks import rivals
from benchmarks.turns import Row, timed_row

#: What the benchmark calls our training, and the one that people would write first.
OURS, TODAY = "arlrepro", "today's way"


def pillow_patches(side: int) -> transforms.Compose:
    """What people do today to an opened image: crop, resize, flip and rotate it by Pillow."""
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(side, scale=(0.04, 0.64)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(10),
            transforms.ToTensor(),
        ]
    )


class JpegPatches(Dataset):
    """Decode a JPEG file and cut a patch from it by Pillow, one image at a time."""

    def __init__(self, files: list[Path], side: int) -> None:
        self.files = files
        self.transform = pillow_patches(side)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(Image.open(self.files[row]).convert("RGB")), torch.tensor([float(row % 2)])


def protocol(network: str, batch_size: int) -> Experiment:
    """The paper's protocol with one patch an image an epoch, from scratch; nothing is validated but at the end."""
    plain = replace(PAPER.experiment, network=replace(PAPER.experiment.network, name=network, weights="none"))
    settings = replace(plain.train, patches_per_image=1, batch_size=batch_size, validate_every=10**6, patience=0)
    return replace(plain, train=settings, evaluation=replace(plain.evaluation, patches_per_scale=0))


def lesions_of(pixels: np.ndarray, device: torch.device) -> Lesions:
    """Images as a training takes them; every other one is a melanoma."""
    labels = np.stack([np.arange(len(pixels)) % 2, np.zeros(len(pixels), dtype=np.int64)], axis=1)
    return Lesions.load(tuple(map(str, range(len(pixels)))), pixels, labels, device)


def epochs(experiment: Experiment, images: int, repeats: int, device: torch.device) -> list[Row]:
    """Patches a second of an epoch of `trainer.train`, in turn with as many patches by the ways of others.

    Today's way: JPEG files decoded by Pillow and torchvision's transforms in a loader with a worker a core, float32,
    contiguous layout, the equation of the ARL block as it stands, SGD. The `rivals` cut no patches.

    Args:
        experiment: from `protocol`, of an ARL-CNN.
        images: of the epoch, one patch each.
        repeats: counted epochs of each.
        device: to train on.
    """
    experiment = replace(experiment, train=replace(experiment.train, epochs=repeats + 2))
    network, batch_size = experiment.network.name, experiment.train.batch_size
    image_side, side = experiment.data.side, experiment.patches.side
    drawn = [draw_lesion("nevus", seed, image_side).image for seed in range(min(images, 8))]
    pixels = np.stack([drawn[row % len(drawn)] for row in range(images)])
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{row}.jpg" for row in range(images)]
        for file, image in zip(files, pixels, strict=True):
            Image.fromarray(image).save(file, quality=90)
        loader = DataLoader(
            JpegPatches(files, side), batch_size, shuffle=True, drop_last=True, num_workers=torch.get_num_threads()
        )
        passes = {TODAY: rivals.training_pass(create(network, fused=False), loader, device)}
        in_memory = [rivals.made_batch(batch_size, side, device)] * (images // batch_size)
        for name, rival in rivals.networks(BOTTLENECKS[NETWORKS[network].plain]).items():
            passes[name] = rivals.training_pass(rival, in_memory, device)
        times: dict[str, list[float]] = {name: [] for name in (OURS, *passes)}

        def others(epoch: int, last: int, row: dict[str, int | float]) -> None:
            if epoch == last:  # its seconds include the validation
                return
            for name, take in passes.items():
                began = time.perf_counter()
                take()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if epoch > 1:  # the first one warms up
                    times[name].append(time.perf_counter() - began)
            if epoch > 1:
                times[OURS].append(float(row["seconds"]))

        train(experiment, 0, lesions_of(pixels, device), lesions_of(pixels[:2], device), watch=others)
    patches = images // batch_size * batch_size
    rows = [timed_row(f"epoch of {network}", times, OURS, TODAY, patches, experiment.train.precision)]
    bases = {TODAY: TODAY} | {name: OURS for name in passes if name != TODAY}
    rows += [timed_row(f"epoch of {network}", times, name, base, patches, "fp32") for name, base in bases.items()]
    return rows


def memory(network: str, batch_size: int, fewer: int, more: int) -> list[Row]:
    """The largest memory of a training on a CPU, by the number of its images, each in a process of its own: `peak`."""
    side = PAPER.experiment.data.side
    peaks = {}
    with stored_images(more, side) as file:
        for images in (fewer, more):
            command = [sys.executable, "-m", "benchmarks.epochs", network, str(batch_size), str(images), str(file)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks[images] = float(answer.stdout)
    return [
        {
            "what": f"peak memory of {network}, {images} images of {side} px, batch {batch_size}",
            "precision": PAPER.experiment.train.precision,
            "MiB": peak,
            "MiB an image more": (peaks[more] - peaks[fewer]) / (more - fewer),
        }
        for images, peak in peaks.items()
    ]


@contextmanager
def stored_images(images: int, side: int) -> Iterator[Path]:
    """An array of images in a file, as the cache has it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "images.npy"
        stored = np.lib.format.open_memmap(file, "w+", np.uint8, (images, side, side, 3))
        stored[:] = np.random.default_rng(0).integers(256, size=(side, side, 3), dtype=np.uint8)
        stored.flush()
        yield file


def peak(network: str, batch_size: int, images: int, file: Path) -> float:
    """Train one epoch on images of a file; the largest memory of this process's own, MiB.

    On Linux pages of the mapped file are not counted: they are the system's, which takes them back when it needs them.
    """
    experiment = protocol(network, batch_size)
    stored = np.load(file, mmap_mode="r")
    training, validation = (lesions_of(stored[:number], torch.device("cpu")) for number in (images, 2))
    once = replace(experiment, train=replace(experiment.train, epochs=1))
    if sys.platform != "linux":
        train(once, 0, training, validation)
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest / 2**20 if sys.platform == "darwin" else largest / 2**10
    seen, done = [own_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    train(once, 0, training, validation)
    done.set()
    watcher.join()
    return max(seen)


def own_memory() -> float:
    """Resident memory of this process that no file stands behind, MiB; Linux has no record of its largest value."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 2**10


if __name__ == "__main__":
    print(peak(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
