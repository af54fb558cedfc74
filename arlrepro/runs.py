"""Making runs: data opened, a network trained or loaded, what needs weights measured, all written as one folder.

Live runs lie in `runs/<profile>/<id>/`, with their weights; archived ones in `results/<profile>/<id>/`, small text
files that are committed. A folder appears under its final name only when it is complete.
"""

import ast
import hashlib
import importlib.metadata
import inspect
import os
import platform
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from arlrepro import cache, folds, isic, scene, signs, synthetic
from arlrepro.archive import (
    PREDICTION_COLUMNS,
    RESULTS,
    WEIGHTS,
    Run,
    Study,
    committed_weights,
    read_run,
    read_study,
    root,
    write_run,
)
from arlrepro.config import CLASSES, DataConfig, Experiment, classes_of, profile
from arlrepro.errors import ConfigError, DatasetError, RunError
from arlrepro.progress import bar

if TYPE_CHECKING:
    import torch
    from torchvision.models import ResNet

    from arlrepro.predict import Lesions

RUNS = Path("runs")
DEFAULT_DATA = Path("data/isic2017")
EXTRA = "extra"  # folder beside the official files, as `arlrepro data extra` makes it
LOGS = ("none", "csv", "tensorboard")
#: Added to a run's seed for the weights of a network that learned nothing, which its maps are compared with.
UNTRAINED = 1000
#: Drawn lesions whose maps are archived with every run, so that the published book can show where a network looks.
GALLERY = (
    *(("melanoma", seed) for seed in (1, 2)),
    *(("seborrheic_keratosis", seed) for seed in (3, 4)),
    *(("nevus", seed) for seed in (5, 6)),
)


def open_data(config: DataConfig, data: str = "") -> isic.IsicDataset:
    """Open the images of an experiment; the synthetic set is drawn first where it is not there yet.

    Its folder is named after what is drawn and by which code, so that other code draws it again.

    Args:
        config: says which source.
        data: folder in the official layout; if empty, the environment variable ARLREPRO_DATA (an absolute path),
            else `data/isic2017`. Synthetic data have a place of their own.

    Raises:
        DatasetError: the folder is missing or not in the official layout.
    """
    if config.source == "synthetic":
        counts = dict(
            zip(
                ("training", "validation", "test"),
                (config.synthetic_training, config.synthetic_validation, config.synthetic_test),
                strict=True,
            )
        )
        kind = f"synthetic-{config.side}px-{'-'.join(str(count) for count in counts.values())}-{drawing()}"
        folder = root() / "data" / kind
        if not folder.is_dir():
            synthetic.write_dataset(folder, side=config.side, counts=counts)
        return isic.read_dataset(folder)
    where = data or os.environ.get("ARLREPRO_DATA") or str(root() / DEFAULT_DATA)
    if not data and where == os.environ.get("ARLREPRO_DATA") and not Path(where).is_absolute():
        raise ConfigError(f"ARLREPRO_DATA is {where!r}; it must be an absolute path")
    dataset = isic.read_dataset(Path(where))
    if config.extra:
        dataset = isic.with_extra(dataset, isic.read_dataset(Path(where) / EXTRA, ["training"]))
    return dataset


def drawing() -> str:
    """Six digits of a hash of what decides which lesions are drawn: the code, without its comments, and `GALLERY`."""
    code = [ast.dump(ast.parse(inspect.getsource(module))) for module in (scene, signs, synthetic)]
    return hashlib.sha256(repr((code, GALLERY)).encode()).hexdigest()[:6]


def open_images(experiment: Experiment, data: str = "") -> tuple[isic.IsicDataset, cache.ImageArray]:
    """Open an experiment's data and decode them."""
    dataset = open_data(experiment.data, data)
    return dataset, decode(dataset, experiment)


def decode(dataset: isic.IsicDataset, experiment: Experiment) -> cache.ImageArray:
    """Decode a data set at the side that an experiment's networks see, once for all runs."""
    side = experiment.data.side
    return cache.prepare(dataset, side, root() / "data" / "cache" / f"{dataset.fingerprint[:12]}-{side}")


def live_folder(profile_name: str) -> Path:
    """Where the runs of a profile are made, with their weights; not committed."""
    return root() / RUNS / profile_name


def archived_folder(profile_name: str) -> Path:
    """Where the archived runs of a profile lie; committed."""
    return root() / RESULTS / profile_name


@dataclass(frozen=True)
class Bench:
    """An experiment's images, decoded and on the device, a split at a time."""

    dataset: isic.IsicDataset
    images: cache.ImageArray
    device: "torch.device"
    patch_side: int

    @classmethod
    def set_up(cls, experiment: Experiment, data: str, device: str) -> "Bench":
        """Choose the device, open and decode the data; of several processes one decodes, and the others wait."""
        from arlrepro.machine import launch

        where = choose_device(device)
        with launch(where).rank_zero_first():
            return cls(*open_images(experiment, data), where, experiment.patches.side)

    @cached_property
    def groups(self) -> np.ndarray:
        """Which images may show the same lesion, see `folds.look_alikes`."""
        return folds.look_alikes(self.images.pixels)

    def for_run(self, experiment: Experiment, seed: int) -> "Bench":
        """The same images, in cross-validation with the splits of the experiment's fold; the seed draws the folds."""
        if not experiment.data.folds:
            return self
        lesions = folds.with_fold(self.dataset.lesions, self.groups, experiment.data.folds, experiment.data.fold, seed)
        return replace(self, dataset=self.dataset.with_splits(lesions["split"]))

    def rows(self, split: str) -> np.ndarray:
        """The rows of the array that hold a split."""
        return np.flatnonzero(self.dataset.lesions["split"] == split)

    def lesions(self, split: str) -> "Lesions":
        """One split's images on the device."""
        rows = self.rows(split)
        if not len(rows):
            raise DatasetError(f"{self.dataset.root}: the {split} split has no images")
        return self.at(rows)

    def at(self, rows: np.ndarray) -> "Lesions":
        """Some rows of the array on the device."""
        from arlrepro.predict import Lesions

        ids = tuple(self.images.image_ids[row] for row in rows)
        labels = self.dataset.lesions.loc[list(ids), list(CLASSES)].to_numpy(dtype=np.int64)
        return Lesions.load(ids, self.images.pixels[rows], labels, self.patch_side, self.device)


def train_or_load(
    experiment: Experiment,
    seed: int,
    folder: Path,
    *,
    data: str = "",
    device: str = "auto",
    bench: Bench | None = None,
    log: str = "none",
    checkpoint_every: float = 300.0,
) -> Run:
    """Load a run that is there, or train, measure and write it; of several processes the first one writes.

    Args:
        experiment: what to run.
        seed: of the run.
        folder: where runs of this profile lie; the run becomes `folder/<id>`, while it trains `folder/<id>.part`. If
            several machines train, it lies on a disk that they share.
        data: see `open_data`.
        device: `auto` (a GPU where there is one), `cpu` or `cuda`.
        bench: images already on the device, if several runs share them.
        log: `csv` or `tensorboard` keeps the history in the run's folder in that form, too, while it grows.
        checkpoint_every: seconds; so much is lost at most if the process is killed.

    Returns:
        The run, read back from disk.

    Raises:
        RunError: the run that is there was made from other images.
    """
    done = folder / experiment.run_id(seed)
    if done.is_dir():
        run = read_run(done)
        if bench is not None:
            _refuse_other_images(run, bench.dataset)
        if experiment.data.source == "synthetic" and run.environment.get("drawing") != drawing():
            raise RunError(f"{done}: its lesions were drawn by other code than today's; remove it to make it again")
        return run
    from arlrepro.checkpoints import Checkpoint
    from arlrepro.machine import launch
    from arlrepro.train import train

    bench = (bench or Bench.set_up(experiment, data, device)).for_run(experiment, seed)
    fabric = launch(bench.device)
    part = folder / f"{done.name}.part"
    part.mkdir(parents=True, exist_ok=True)
    checkpoint = Checkpoint(part / "state", bench.dataset.fingerprint, checkpoint_every)
    logger = _logger(log, part) if fabric.is_global_zero else None
    with bar(total=experiment.train.epochs, desc=done.name, unit="epoch", disable=not fabric.is_global_zero) as epochs:

        def watch(epoch: int, _epochs: int, row: dict[str, int | float]) -> None:
            epochs.update(epoch - epochs.n)
            shown = {key: f"{row[key]:.3f}" for key in row if key.startswith(("training_loss", "validation_auc"))}
            epochs.set_postfix({key.replace("validation_auc_", "auc_"): value for key, value in shown.items()})
            if logger is not None:
                logger.log_metrics(row, step=epoch)
                logger.save()

        trained = train(experiment, seed, bench.lesions("training"), bench.lesions("validation"), checkpoint, watch)
    if fabric.is_global_zero:
        if logger is not None:
            logger.finalize("success")
        run = Run(
            experiment=experiment,
            seed=seed,
            data_fingerprint=bench.dataset.fingerprint,
            environment=_environment(bench.device, fabric.world_size, float(trained.history["seconds"].sum())),
            history=trained.history,
            attention=pd.DataFrame(),
            predictions=pd.DataFrame(),
        )
        run = measure(run, trained.network, bench)
        save_weights(trained.network, part / WEIGHTS)
        write_run(run, part)
        checkpoint.path.unlink()
        part.rename(done)
    fabric.barrier()
    return read_run(done)


def _logger(kind: str, folder: Path) -> Any:
    """One of Lightning Fabric's loggers, which writes to `<folder>/log`; None for `none`."""
    from lightning_fabric import loggers

    if kind not in LOGS:
        raise ConfigError(f"unknown log {kind!r}; known: {', '.join(LOGS)}")
    if kind == "none":
        return None
    try:
        chosen = loggers.CSVLogger if kind == "csv" else loggers.TensorBoardLogger
        return chosen(folder, name="log")
    except ModuleNotFoundError as error:
        raise ConfigError("log tensorboard needs a package that is not here: pip install tensorboard") from error


def _refuse_other_images(run: Run, dataset: isic.IsicDataset) -> None:
    if dataset.fingerprint != run.data_fingerprint:
        raise RunError(
            f"{run.folder}: made from the images {run.data_fingerprint[:12]}, but {dataset.root} holds "
            f"{dataset.fingerprint[:12]}; give the folder it was made from"
        )


def measure(run: Run, network: "torch.nn.Module", bench: Bench) -> Run:
    """Score both held-out splits and measure all that needs weights or images, as numbers for the archive."""
    from arlrepro import attention
    from arlrepro.patches import evaluation_boxes
    from arlrepro.predict import aucs_by_scale, mean_over_patches, patch_scores

    experiment, classes = run.experiment, classes_of(run.experiment.task)
    boxes = evaluation_boxes(experiment.patches, experiment.evaluation)
    tables = []
    for split in ("validation", "test"):
        lesions = bench.lesions(split)
        by_patch = patch_scores(network, lesions, boxes, experiment.patches, experiment.train.precision)
        table = pd.DataFrame(mean_over_patches(by_patch), columns=list(classes))
        table["image_id"], table["split"] = lesions.image_ids, split
        for column, name in enumerate(CLASSES):
            table[f"{name}_label"] = lesions.labels[:, column]
        tables.append(table.reindex(columns=PREDICTION_COLUMNS))
    test = bench.lesions("test")
    by_lesion = attention.terms(network, test, experiment)
    of_classes = test.labels[:, [CLASSES.index(name) for name in classes]]
    scales = {"scales": aucs_by_scale(by_patch, boxes, of_classes, classes)}
    return replace(
        run,
        predictions=pd.concat(tables, ignore_index=True),
        attention=attention.term_sizes(by_lesion),
        measures=scales | _measures(network, test, by_lesion, run, bench),
    )


def _measures(
    network: "ResNet", test: "Lesions", by_lesion: pd.DataFrame, run: Run, bench: Bench
) -> dict[str, pd.DataFrame]:
    """What is archived of a network beside its scores, by the name of its file; see `measures`."""
    from arlrepro import measures
    from arlrepro.train import build

    experiment, masks = run.experiment, bench.images.masks
    drawn = gallery(experiment, bench.device)
    found = measures.of_images(network, test, drawn, experiment) | {"terms": measures.ratios(by_lesion)}
    if masks is not None:
        rows = bench.rows("test")
        outlined = np.flatnonzero(bench.images.has_mask[rows])
        if len(outlined):
            random = replace(experiment, network=replace(experiment.network, weights="none"))
            untrained = build(random, run.seed + UNTRAINED, bench.device)
            found |= measures.of_masks(network, untrained, test.at(outlined), masks[rows[outlined]], experiment)
        rows = bench.rows("training")
        rows = measures.drawn_by_seed(rows[bench.images.has_mask[rows]], measures.TRAINING_LESIONS, experiment)
        if len(rows):
            found["focus_training"] = measures.focus(network, bench.at(rows), masks[rows], experiment)
    return {name: table for name, table in found.items() if len(table)}


def measure_again(folder: Path, data: str = "", device: str = "auto") -> Run:
    """Measure a finished run once more from its weights, after a measure was added or changed; its scores stay.

    Raises:
        RunError: the weights are not here, or the images are not those the run was made from.
    """
    run = read_run(folder)
    if not (folder / WEIGHTS).is_file():
        raise RunError(f"{folder}: no {WEIGHTS}; only a live run can be measured, runs/<profile>/<id>")
    bench = Bench.set_up(run.experiment, data, device).for_run(run.experiment, run.seed)
    _refuse_other_images(run, bench.dataset)
    measured = measure(run, load_network(run, device), bench)
    environment = {**run.environment, "drawing": drawing()}
    write_run(replace(measured, predictions=run.predictions, environment=environment), folder)
    return read_run(folder)


def gallery(experiment: Experiment, device: "torch.device") -> "Lesions":
    """The drawn lesions of `GALLERY` as a network of this experiment sees them; ids are `<kind>-<seed>`."""
    from arlrepro.predict import Lesions

    side = experiment.data.side
    drawn = [synthetic.draw_lesion(kind, seed, side) for kind, seed in GALLERY]
    labels = np.array([[int(kind == name) for name in CLASSES] for kind, _ in GALLERY])
    ids = tuple(f"{kind}-{seed}" for kind, seed in GALLERY)
    return Lesions.load(ids, np.stack([one.image for one in drawn]), labels, experiment.patches.side, device)


def load_network(run: Run, device: str = "auto") -> "torch.nn.Module":
    """The trained network of a run, in evaluation mode: of a live one as trained, else from its committed weights.

    Raises:
        RunError: the run's weights are not here; the message says how to get them.
    """
    from safetensors.torch import load_file

    from arlrepro.train import build

    places = [*([run.folder / WEIGHTS] if run.folder else []), committed_weights(run.id)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        profile_name = run.folder.parent.name if run.folder else "NAME"
        raise RunError(
            f"{run.id}: no {WEIGHTS} in {run.folder}; archived runs keep none: train it with `arlrepro train "
            f"--profile {profile_name} --network {run.network} --task {run.experiment.task} --seed {run.seed}`"
        )
    where = choose_device(device)
    # Reason: the weights that it started from are replaced, and need not be here any more.
    blank = replace(run.experiment, network=replace(run.experiment.network, weights="none"))
    network = build(blank, run.seed, where)
    network.load_state_dict(load_file(path))  # rounded weights are widened again
    return network.eval()


def archive(run_folder: Path, results: Path) -> Path:
    """Copy what readers need of a live run, its text files without the weights, to where committed results lie.

    Args:
        run_folder: of a finished run.
        results: folder of the profile's archived runs, `results/<profile>`.

    Returns:
        The archived run's folder.
    """
    run = read_run(run_folder)
    target = results / run.id
    part = results / f"{run.id}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_run(run, part)
    if target.exists():
        shutil.rmtree(target)
    part.rename(target)
    return target


def reproduce(
    profile_name: str, data: str = "", device: str = "auto", first_seed_only: bool = False, log: str = "none"
) -> Study:
    """Run what a profile's matrix lacks, with a progress bar over the runs; runs that are there are read.

    Args:
        profile_name: the profile.
        data: see `open_data`.
        device: see `train_or_load`.
        first_seed_only: make one run of each network and task, enough to draw pictures with.
        log: see `train_or_load`.
    """
    chosen = profile(profile_name)
    folder = live_folder(chosen.name)
    seeds = chosen.seeds[:1] if first_seed_only else chosen.seeds
    wanted = [(experiment, seed) for seed in seeds for experiment in chosen.experiments()]
    missing = [(experiment, seed) for experiment, seed in wanted if not (folder / experiment.run_id(seed)).is_dir()]
    runs = [train_or_load(experiment, seed, folder) for experiment, seed in wanted if (experiment, seed) not in missing]
    bench = Bench.set_up(chosen.experiment, data, device) if missing else None
    progress = bar(total=len(wanted), initial=len(runs), desc=f"runs of {chosen.name}", unit="run", disable=not missing)
    with progress:
        for left, (experiment, seed) in zip(range(len(missing), 0, -1), missing, strict=True):
            if runs:
                hours = left * float(np.mean([run.environment["seconds"] for run in runs])) / 3600
                progress.set_postfix_str(f"about {hours:.1f} h of training left")
            runs.append(train_or_load(experiment, seed, folder, bench=bench, log=log))
            progress.update()
    return read_study(chosen, folder)


def open_study(profile_name: str, data: str = "") -> Study:
    """What a notebook starts from: the runs of a profile.

    A synthetic profile is run here and now where runs are missing. A profile of real images is read from its archive;
    with `data`, the first seed of each network is trained where its weights are not here, to draw pictures with.
    """
    chosen = profile(profile_name)
    if chosen.experiment.data.folds:
        raise ConfigError(f"profile {chosen.name} is cross-validation, shown on the pages of the profile it repeats")
    if chosen.experiment.data.source == "synthetic":
        return reproduce(profile_name)
    live = reproduce(profile_name, data, first_seed_only=True).runs if data else ()
    archived = read_study(chosen, archived_folder(chosen.name)).runs
    known = {run.id for run in archived}
    return Study(chosen, (*archived, *(run for run in live if run.id not in known)))


def choose_device(name: str) -> "torch.device":
    """The device of a name: `auto` is a GPU where there is one.

    Raises:
        ConfigError: no such name, or no such device here.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda: this machine has no CUDA device that torch can use; give cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun says which one is this process's


def save_weights(network: "torch.nn.Module", path: Path) -> None:
    """Write a network's state dict as safetensors."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, path)


def _environment(device: "torch.device", processes: int, seconds: float) -> dict[str, Any]:
    """Where a run was made: versions, device, processes and their threads, and how long the training took."""
    import torch

    packages = ("arlrepro", "torch", "torchvision", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processes": processes,
        "threads": torch.get_num_threads(),
        "deterministic": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        "drawing": drawing(),
        "seconds": round(seconds, 1),
    }
