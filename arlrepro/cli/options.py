"""Options that several commands share, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

from arlrepro import profiles

ProfileName = Annotated[str, typer.Option("--profile", help=f"One of {', '.join(profiles.PROFILES)}.")]
Data = Annotated[
    str,
    typer.Option("--data", help="Folder in the official ISIC-2017 layout; else ARLREPRO_DATA, else data/isic2017."),
]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU where there is one), cpu or cuda.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change one field, for example --set train.epochs=5; may be repeated.")
]

WeightsFolder = Annotated[
    Path | None,
    typer.Option("--weights-dir", help="Folder of weights by name; else ARLREPRO_WEIGHTS, else torch hub's cache."),
]
# Reason: torchrun takes --log, even behind the program's name, for one of its own.
Log = Annotated[
    str, typer.Option("--logger", "--log", help="Keep the history as csv or tensorboard, too; none does not.")
]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="On a GPU: only kernels that give the same bits at every call; slower.")
]

On = Annotated[
    str,
    typer.Option(
        "--on",
        help="local; ray (this machine, as asked); auto (the cluster it is in); ray://HOST:10001 (another).",
    ),
]
CpusPerRun = Annotated[float, typer.Option(help="Of a node, on Ray; fractions share.")]
GpusPerRun = Annotated[float | None, typer.Option(help="The same; by default one, where a node has one.")]


def choose_kernels(deterministic: bool) -> None:
    """Obey `--deterministic`."""
    if deterministic:
        from arlrepro.training import distributed

        distributed.use_deterministic_kernels()


def choose_weights(folder: Path | None) -> None:
    """Obey `--weights-dir`."""
    if folder is not None:
        from arlrepro.models import pretrained

        pretrained.use_folder(folder)
