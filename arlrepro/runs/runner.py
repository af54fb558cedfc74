"""Making runs: data opened, a network trained or loaded and measured, all written as one folder.

Live runs lie in `runs/<profile>/<id>/`, with their weights; archived ones in `results/<profile>/<id>/`, small text
files that are committed. A folder appears under its final name only when it is complete.
"""

import importlib.metadata
import platform
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from arlrepro import storage
from arlrepro.config import Experiment
from arlrepro.data import datasets, isic
from arlrepro.errors import ConfigError, RunError
from arlrepro.progress import advance, bar
from arlrepro.runs.archive import WEIGHTS, Run, check_lesions, lesions_csv, read_run, write_lesions, write_run
from arlrepro.runs.weights import load_network, save_weights

if TYPE_CHECKING:
    import torch

    from arlrepro.data.datasets import DataModule
    from arlrepro.training.checkpoint import Checkpoint
    from arlrepro.training.trainer import Watcher

LOGS = ("none", "csv", "tensorboard")
#: The checkpoint of a training under way, in its folder.
STATE = "state"


def set_up_data(experiment: Experiment, data: str, device: str) -> "DataModule":
    """Choose the device, open and decode the data; of several processes one decodes, and the others wait."""
    from arlrepro.data.datasets import DataModule
    from arlrepro.models.devices import choose_device

    return DataModule(*datasets.open_images(experiment, data), choose_device(device))


def train_or_load(
    experiment: Experiment,
    seed: int,
    folder: Path,
    *,
    data: str = "",
    device: str = "auto",
    datamodule: "DataModule | None" = None,
    log: str = "none",
    checkpoint_every: float = 300.0,
    written: Callable[[Path], None] | None = None,
    watch: "Watcher | None" = None,
    place: Mapping[str, Any] | None = None,
) -> Run:
    """Load a run that is there, or train, measure and write it; of several processes the first one writes.

    Args:
        experiment: what to run.
        seed: of the run.
        folder: where runs of this profile lie; the run becomes `folder/<id>`, while it trains `folder/<id>.part`. If
            several machines train, it lies on a disk that they share.
        data: see `datasets.open_data`.
        device: `auto` (a GPU where there is one), `cpu` or `cuda`.
        datamodule: images already on the device, if several runs share them.
        log: `csv` or `tensorboard` keeps the history in the run's folder in that form, too, while it grows.
        checkpoint_every: seconds; so much is lost at most if the process is killed.
        written: told the path of each checkpoint once it is written.
        watch: told after each epoch.
        place: what `environment.json` says beside the usual: engine and node, where it is not made here.

    Returns:
        The run, read back from disk.

    Raises:
        OutputError: the folder cannot be written.
        RunError: the run that is there was made from other images.
    """
    done = folder / experiment.run_id(seed)
    if done.is_dir():
        return _made_before(done, experiment, datamodule)
    from arlrepro.models.pretrained import locate
    from arlrepro.training.checkpoint import Checkpoint
    from arlrepro.training.distributed import launch

    # Reason: what is lacking is said before the images are decoded.
    storage.require_writable(folder)
    if experiment.network.weights != "none":
        locate(experiment.network.weights)
    datamodule = (datamodule or set_up_data(experiment, data, device)).for_run(experiment, seed)
    fabric = launch(datamodule.device)
    with storage.alone(done, "trains it") if fabric.is_global_zero else nullcontext():
        fabric.barrier()
        if done.is_dir():  # made by the process that was waited for
            return _made_before(done, experiment, datamodule)
        state = folder / f"{done.name}.part" / STATE
        checkpoint = Checkpoint(state, datamodule.dataset.fingerprint, checkpoint_every, written)
        _train_and_write(experiment, seed, datamodule, checkpoint, log, watch, place or {})
        fabric.barrier()
    return read_run(done)


def _made_before(done: Path, experiment: Experiment, datamodule: "DataModule | None") -> Run:
    """A finished run, refused where it is of other images."""
    (done / STATE).unlink(missing_ok=True)  # left by a process that was killed as it finished the run
    run = read_run(done)
    if datamodule is not None:
        _refuse_other_images(run, datamodule.dataset)
    if experiment.data.source == "synthetic" and run.environment.get("drawing") != datasets.drawing():
        raise RunError(f"{done}: its lesions were drawn by other code than today's; remove it to make it again")
    return run


def _train_and_write(
    experiment: Experiment,
    seed: int,
    datamodule: "DataModule",
    checkpoint: "Checkpoint",
    log: str,
    watch: "Watcher | None",
    place: Mapping[str, Any],
) -> None:
    """Train and measure in the folder of the checkpoint, from where it is; rename the folder when it is whole."""
    from arlrepro.runs import measures
    from arlrepro.training.distributed import launch
    from arlrepro.training.trainer import train

    fabric = launch(datamodule.device)
    part, name = checkpoint.path.parent, experiment.run_id(seed)
    part.mkdir(parents=True, exist_ok=True)
    logger = _logger(log, part) if fabric.is_global_zero else None
    with bar(total=experiment.train.epochs, desc=name, unit="epoch", disable=not fabric.is_global_zero) as epochs:

        def show(epoch: int, every: int, row: dict[str, int | float]) -> None:
            advance(epochs, epoch)
            shown = {key: f"{row[key]:.3f}" for key in row if key.startswith(("training_loss", "validation_auc"))}
            epochs.set_postfix({key.replace("validation_auc_", "auc_"): value for key, value in shown.items()})
            if logger is not None:
                logger.log_metrics(row, step=epoch)
                logger.save()
            if watch is not None:
                watch(epoch, every, row)

        trained = train(
            experiment, seed, datamodule.lesions("training"), datamodule.lesions("validation"), checkpoint, show
        )
    if not fabric.is_global_zero:
        return
    if logger is not None:
        logger.finalize("success")
    seconds = trained.history["seconds"].sum()
    run = Run(
        experiment=experiment,
        seed=seed,
        data_fingerprint=datamodule.dataset.fingerprint,
        environment={**_environment(experiment, datamodule.device, fabric.world_size, seconds), **place},
        history=trained.history,
        attention=pd.DataFrame(),
        predictions=pd.DataFrame(),
    )
    run = measures.of_run(run, trained.network, datamodule)
    with storage.writing(part):
        save_weights(trained.network, part / WEIGHTS, run)
        write_run(run, part)
        storage.sync(part)
        done = part.rename(part.with_name(name))
        # Reason: as long as the run has not its name, a process that starts after a kill goes on from the checkpoint.
        (done / STATE).unlink()


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


def measure_again(folder: Path, data: str = "", device: str = "auto") -> Run:
    """Measure a finished run once more from its weights, after a measure was added or changed; its scores stay.

    Raises:
        OutputError: the folder cannot be written; the run stays as it was.
        RunError: the weights are not here, or the images are not those the run was made from.
    """
    from arlrepro.runs import measures

    run = read_run(folder)
    if not (folder / WEIGHTS).is_file():
        raise RunError(f"{folder}: no {WEIGHTS}; only a live run can be measured, runs/<profile>/<id>")
    datamodule = set_up_data(run.experiment, data, device).for_run(run.experiment, run.seed)
    _refuse_other_images(run, datamodule.dataset)
    measured = measures.of_run(run, load_network(run, device), datamodule)
    environment = {**run.environment, "drawing": datasets.drawing()}
    with storage.writing(folder), storage.alone(folder, "measures it"), storage.replacing(folder) as new:
        new.mkdir()
        for kept in (one for one in folder.iterdir() if one.suffix not in (".csv", ".json", ".yaml")):
            (shutil.copytree if kept.is_dir() else shutil.copy2)(kept, new / kept.name)
        write_run(replace(measured, predictions=run.predictions, environment=environment), new)
    return read_run(folder)


def archive(run_folder: Path, results: Path) -> Path:
    """Copy what readers need of a live run, its text files without the weights, to where committed results lie.

    Args:
        run_folder: of a finished run; an archived one, which stays as it is, is given the manifest that it lacks.
        results: folder of the profile's archived runs, `results/<profile>`.

    Returns:
        The archived run's folder.

    Raises:
        OutputError: the archive cannot be written.
        RunError: the run is damaged, or its rows are not the lesions that the archive lists for its images.
    """
    run = read_run(run_folder)
    target = results / run.id
    storage.require_writable(results)
    if target.is_dir() and target.samefile(run_folder):  # archived before there were manifests
        if not (target / storage.MANIFEST).is_file():
            check_lesions(run, results.parent)
            storage.write_sums(target, [file.name for file in target.iterdir()])
        return target
    with storage.writing(target), storage.alone(target, "archives it"):
        check_lesions(run, results.parent)
        if not run.experiment.data.folds and not lesions_csv(run, results.parent).is_file():
            write_lesions(run, results.parent)
        with storage.replacing(target) as new:
            new.mkdir()
            write_run(run, new)
    return target


def _environment(experiment: Experiment, device: "torch.device", processes: int, seconds: float) -> dict[str, Any]:
    """Where a run was made: versions, weights, device, processes and their threads, how long the training took."""
    import torch

    from arlrepro.models.pretrained import locate, sha256

    start = experiment.network.weights

    packages = ("arlrepro", "torch", "torchvision", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processes": processes,
        "threads": torch.get_num_threads(),
        "deterministic": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        "drawing": datasets.drawing(),
        **({} if start == "none" else {"weights": {"name": start, "sha256": sha256(locate(start))}}),
        "seconds": round(float(seconds), 1),
    }
