"""Commands on images and labels: fetch, synthesise, check and decode them."""

from pathlib import Path
from typing import Annotated

import typer

from arlrepro import config, profiles
from arlrepro.cli.options import Data, ProfileName, Settings
from arlrepro.errors import ConfigError


def download(
    root: Annotated[Path, typer.Argument(help="Folder for the official files.")],
    base_url: Annotated[str | None, typer.Option(help="Another server with the same files.")] = None,
    masks: Annotated[bool, typer.Option(help="Fetch the lesion masks too.")] = False,
) -> None:
    """Fetch the official ISIC-2017 files (about 12 GB) and verify them; a broken transfer goes on where it stopped."""
    from arlrepro.data import download as fetching

    files = fetching.download(root, base_url=base_url or fetching.BASE_URL, masks=masks)
    typer.echo(f"{len(files)} files, whole and verified, in {root}")


def extra(
    root: Annotated[
        Path, typer.Argument(help="Folder to make: images and extra.csv, which names each with its source.")
    ],
    data: Data = "",
    ham10000: Annotated[Path | None, typer.Option(help="Choose from HAM10000 here, not from the ISIC Archive.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Repeat the choice of an earlier extra.csv.")] = None,
) -> None:
    """Gather extra training images by the paper's counts and a fixed rule, away from the challenge's own lesions."""
    from arlrepro.data import datasets, isic
    from arlrepro.data import extra_images as gathering

    challenge = datasets.open_data(profiles.PAPER.experiment.data, data)
    if ham10000 is None:
        choice = gathering.from_archive(root, challenge, manifest=manifest)
    elif manifest is None:
        choice = gathering.from_ham10000(root, challenge, isic.read_ham10000(ham10000))
    else:
        raise ConfigError("--manifest repeats a choice from the ISIC Archive; give it without --ham10000")
    typer.echo(choice.counts.to_string())


def synth(
    root: Annotated[Path, typer.Argument(help="Folder to make, in the official layout.")],
    side: Annotated[int, typer.Option(help="Height and width of the images, px.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    training: Annotated[int, typer.Option(help="Training images.")] = 2000,
    validation: Annotated[int, typer.Option(help="Validation images.")] = 150,
    test: Annotated[int, typer.Option(help="Test images.")] = 600,
) -> None:
    """Draw a synthetic dermoscopy data set, with lesion masks, in the official ISIC-2017 layout."""
    from arlrepro.data.synthetic.dataset import write_dataset

    counts = {"training": training, "validation": validation, "test": test}
    write_dataset(root, seed=seed, side=side, counts=counts)
    typer.echo(f"{sum(counts.values())} images of {side} px in {root}")


def check(
    root: Annotated[Path, typer.Argument(help="Folder in the official layout, or of images with one CSV.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON and nothing else.")] = False,
    pairs: Annotated[
        Path | None, typer.Option(help="Also write the cross-split near-duplicates, side by side.")
    ] = None,
) -> None:
    """Look for everything that is wrong or doubtful in a data set; exit status 1 if there are faults."""
    from arlrepro.data import check as checking
    from arlrepro.storage import writing

    if pairs is not None:
        with writing(pairs):
            pairs.touch()  # before the long check, so that it does not end in a page that cannot be written
    report = checking.check(root)
    typer.echo(report.to_json() if as_json else report.text())
    if pairs is not None:
        with writing(pairs):
            pairs.write_text(report.pairs_html(), encoding="utf8")
    if report.faults:
        raise typer.Exit(1)


def prepare(profile: ProfileName = "demo", data: Data = "", settings: Settings = None) -> None:
    """Decode every image once into the memory-mapped array that training reads."""
    from arlrepro.data import datasets

    experiment = config.with_settings(profiles.profile(profile).experiment, settings or [])
    images = datasets.open_images(experiment, data)[1]
    typer.echo(f"{len(images.image_ids)} images of {images.side} px, data set {images.fingerprint[:12]}")
