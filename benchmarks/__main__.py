"""Time training steps and patches, interleaved, and write the medians with their ratios to results/benchmark.json."""

import argparse
import io
import json
import platform
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from arlrepro.config import PatchConfig
from arlrepro.data.patches import cut, epoch
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.models.devices import choose_device, has_bfloat16_units
from arlrepro.paths import RESULTS, root
from benchmarks.epochs import epochs, memory, pillow_patches, protocol
from benchmarks.steps import FAMILIES, SIDE, attention, roofline, shares, steps
from benchmarks.turns import Row, timed_row, turns

PILLOW = "Pillow in a DataLoader"
PARTS = ["patches", "steps", "attention", "shares", "roofline", "epochs", "memory"]


class PillowPatches(Dataset):
    """Decode a JPEG in memory and cut a patch from it by Pillow, one image at a time."""

    def __init__(self, jpegs: list[bytes], side: int) -> None:
        self.jpegs = jpegs
        self.transform = pillow_patches(side)

    def __len__(self) -> int:
        return len(self.jpegs)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.transform(Image.open(io.BytesIO(self.jpegs[row])).convert("RGB"))


def patches(image_side: int, patch_side: int, repeats: int, device: torch.device) -> list[Row]:
    """Patches a second: one warp a patch, against a loader of Pillow transforms with a worker a core."""
    number = 256
    drawn = [draw_lesion("nevus", seed, image_side).image for seed in range(16)]
    encoded = []
    for image in drawn:
        jpeg = io.BytesIO()
        Image.fromarray(image).save(jpeg, "JPEG", quality=90)
        encoded.append(jpeg.getvalue())
    config = PatchConfig(side=patch_side)
    images = torch.stack([torch.tensor(drawn[i % 16]) for i in range(number)]).to(device)
    loader = DataLoader(PillowPatches(encoded * 16, patch_side), batch_size=32, num_workers=torch.get_num_threads())

    def warp() -> None:
        for image, boxes in epoch(number, 1, 32, config, seed=0, number=0):
            cut(images, image, boxes, config)

    def pillow() -> None:
        for _ in loader:
            pass

    times = turns({"one warp a patch": warp, PILLOW: pillow}, repeats, device)
    return [
        timed_row(f"patches of {patch_side} px from {image_side} px", times, name, PILLOW, number) for name in times
    ]


def cutting_beside(step: Row, warp: Row) -> Row:
    """The time of cutting a step's patches over the time of the step itself."""
    seconds = float(step["seconds"]) * float(step["a second"]) / float(warp["a second"])
    return {
        "what": f"cutting the patches of a {step['what']}",
        "precision": step["precision"],
        "seconds": seconds,
        "a second": warp["a second"],
        "unit": "patches",
        "ratio": seconds / float(step["seconds"]),
        "ratio to": "the step",
    }


def cutting(rows: list[Row]) -> list[Row]:
    """What cutting patches adds to the steps of the ARL-CNNs among the rows."""
    warps = [row for row in rows if row["what"] == f"patches of {SIDE} px from 1120 px, one warp a patch"]
    timed = [row for row in rows if row["what"] in ("training step, arl_cnn14", "training step, arl_cnn50")]
    return [cutting_beside(step, warp) for warp in warps for step in timed]


def merged(rows: list[Row], kept: list[Row]) -> list[Row]:
    """Rows measured now in the place of those of the same name and precision; the others stay as they were."""
    new = {(row["what"], row["precision"]): row for row in rows}
    old = {(row["what"], row["precision"]): row for row in kept}
    return list((old | new).values())


def processor() -> str:
    """The processor in words, by its family and the vector instructions that torch uses of it."""
    return f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"


def main() -> None:
    """Run what was asked for and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="counted turns of every case")
    parser.add_argument("--batch-size", type=int, default=32, help="patches a step")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--depths", nargs="*", default=["14", "50"], help="of the networks")
    parser.add_argument("--epoch-images", type=int, default=64, help="images of a whole epoch, one patch each")
    parser.add_argument(
        "--parts",
        nargs="*",
        default=PARTS,
        choices=PARTS,
        help="what to measure; the rest is kept from an earlier run, if it had the same settings on the same machine",
    )
    given = parser.parse_args()
    device = choose_device(given.device)
    machine = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "bfloat16_units": device.type == "cuda" or has_bfloat16_units(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "batch_size": given.batch_size,
        "repeats": given.repeats,
    }
    file = root() / RESULTS / "benchmark.json"
    stored: dict[str, Any] = {"machine": machine}
    if len(given.parts) < len(PARTS) and file.is_file():
        stored = json.loads(file.read_text())
    if stored["machine"] != machine:
        parser.error(f"{file} was measured by {stored['machine']}, this is {machine}: measure all parts")

    rows: list[Row] = []
    if "patches" in given.parts:
        rows += patches(256, 128, given.repeats, device) + patches(1120, SIDE, given.repeats, device)
    if "steps" in given.parts:
        for depth in given.depths:
            for precision in ("bf16", "fp32"):
                rows += steps(depth, precision, given.batch_size, given.repeats, device)
    if "attention" in given.parts:
        for name in FAMILIES:
            for precision in ("bf16", "fp32"):
                rows += attention(name, precision, given.batch_size, given.repeats, device)
    if "shares" in given.parts:
        for depth in given.depths:
            for name in (f"resnet{depth}", f"arl_cnn{depth}"):
                for precision in ("bf16", "fp32"):
                    rows += shares(name, precision, given.batch_size, given.repeats, device)
    if "roofline" in given.parts:
        for depth in given.depths:
            for precision in ("bf16", "fp32"):
                rows.append(roofline(f"resnet{depth}", precision, given.batch_size, given.repeats, device))
    if "epochs" in given.parts:
        for depth in given.depths:
            experiment = protocol(f"arl_cnn{depth}", given.batch_size)
            rows += epochs(experiment, given.epoch_images, min(given.repeats, 2), device)
    rows = merged(rows, stored.get("rows", []))
    rows = merged(cutting(rows), rows)
    held = stored.get("memory", [])
    if "memory" in given.parts:
        # Reason: four steps at least, for the optimiser's own memory comes with the first and counts from the second.
        held = memory("arl_cnn50", given.batch_size, 4 * given.batch_size, 8 * given.batch_size)
    file.write_text(json.dumps({"machine": machine, "rows": rows, "memory": held}, indent=2) + "\n")
    for row in rows:
        print(f"{row['what']:70} {row['precision']:5} {row['a second']:8.1f}/s  {row['ratio']:.2f} x {row['ratio to']}")
    for peak in held:
        print(
            f"{peak['what']:70} {peak['precision']:5} {peak['MiB']:8.0f} MiB, {peak['MiB an image more']:.2f} an image"
        )


if __name__ == "__main__":
    main()
