"""Small data sets on disk for the tests, in the official layout: written byte by byte, so that each can be broken."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 16
#: Per official split name: (image_id, melanoma, seborrheic_keratosis, age, sex).
LESIONS = {
    "ISIC-2017_Training": [("ISIC_1", 0, 0, "30", "female"), ("ISIC_2", 1, 0, "unknown", "male")],
    "ISIC-2017_Validation": [("ISIC_3", 0, 1, "85", "unknown")],
    "ISIC-2017_Test_v2": [("ISIC_5", 0, 0, "40", "male"), ("ISIC_4", 1, 0, "55", "female")],
}


def pixels(seed: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """Smooth colours that differ from seed to seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(values: np.ndarray, format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format, **options)
    return buffer.getvalue()


def mask(seed: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    values = np.zeros((height, width), dtype=bool)
    values[: height // 2 + seed, : width // 2] = True
    return values


def official_files(masks: bool = True) -> dict[str, bytes]:
    """Every file of a small data set by its path inside the extracted folders."""
    files = {}
    for name, lesions in LESIONS.items():
        labels = "".join(f"{image_id},{melanoma}.0,{sk}.0\r\n" for image_id, melanoma, sk, _, _ in lesions)
        files[f"{name}_Part3_GroundTruth.csv"] = f"image_id,melanoma,seborrheic_keratosis\r\n{labels}".encode()
        people = "".join(f"{image_id},{age},{sex}\n" for image_id, _, _, age, sex in lesions)
        files[f"{name}_Data/{name}_Data_metadata.csv"] = f"image_id,age_approximate,sex\n{people}".encode()
        for image_id, *_ in lesions:
            seed = int(image_id[-1])
            files[f"{name}_Data/{image_id}.jpg"] = encoded(pixels(seed), quality=95, subsampling=0)
            files[f"{name}_Data/{image_id}_superpixels.png"] = encoded(pixels(seed + 50), "PNG")
            if masks:
                ground_truth = encoded(mask(seed), "PNG")
                files[f"{name}_Part1_GroundTruth/{image_id}_segmentation.png"] = ground_truth
    return files


def write(root: Path, files: dict[str, bytes], zipped: bool = True) -> Path:
    """Write files; with `zipped`, those of a folder into one archive beside the others."""
    root.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        folder, _, name = path.rpartition("/")
        if folder and zipped:
            with zipfile.ZipFile(root / f"{folder}.zip", "a") as archive:
                archive.writestr(path, data)
        else:
            (root / folder).mkdir(exist_ok=True)
            (root / folder / name).write_bytes(data)
    return root
