"""Time the look at the checksums of decoded images beside a pass of training, and write results/checksums.json."""

import argparse
import json
import statistics
import time
from pathlib import Path

from arlrepro import storage
from arlrepro.data import cache, datasets
from arlrepro.paths import RESULTS, archived_folder, root
from arlrepro.profiles import profile
from arlrepro.runs.study import read_study

TIMES = 7


def main() -> None:
    """Print the times, and write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checksums", description=__doc__)
    parser.add_argument("--profile", default="isic2017-256-imagenet", help="its images, and its archived runs")
    parser.add_argument("--data", default="", help="its images, where ARLREPRO_DATA does not name them")
    told = parser.parse_args()
    chosen = profile(told.profile)
    images = datasets.open_images(chosen.experiment, told.data)[1]
    folder = Path(str(images.pixels.filename)).parent
    bytes_read = images.pixels.nbytes + (0 if images.masks is None else images.masks.nbytes)
    seconds = []
    for _ in range(TIMES):
        # Reason: seconds of a core, as an archived pass took one; other work on the machine changes them little.
        began = time.process_time()
        assert cache.damage(folder) == "", "the array was whole a moment ago"
        seconds.append(time.process_time() - began)
    runs = read_study(chosen, archived_folder(chosen.name)).runs
    of_passes = [float(second) for run in runs for second in run.history["seconds"]]
    check, one_pass = statistics.median(seconds), statistics.median(of_passes)
    found = {
        "profile": chosen.name,
        "images": len(images.image_ids),
        "megabytes": bytes_read / 1e6,
        "looks": TIMES,
        "a look, s": check,
        "passes": len(of_passes),
        "a pass, s": one_pass,
        "share": check / one_pass,
    }
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    storage.write_text(root() / RESULTS / "checksums.json", text)


if __name__ == "__main__":
    main()
