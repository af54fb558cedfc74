"""Commands that read what is there: tables, scores, predictions, the book."""

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from arlrepro import profiles, storage
from arlrepro.cli.options import Data, Device, ProfileName
from arlrepro.errors import ConfigError, some

#: Columns of a terminal that a table is folded to.
TERMINAL = 100


def results(
    profile: ProfileName = "isic2017-256-imagenet",
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown", help="The finding, verdicts and the profile's own AUCs as Markdown, as in the README."
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write each table into this folder, as CSV and LaTeX.")] = None,
) -> None:
    """Compute the verdicts and tables of the book again from the archived predictions; no data, no GPU."""
    from arlrepro import paths, registry
    from arlrepro.book import export
    from arlrepro.book.answers import results as answers
    from arlrepro.book.tables import comparison
    from arlrepro.evaluation import formatting
    from arlrepro.runs.study import read_study

    if out is not None:
        storage.require_writable(out)
    study = read_study(profiles.profile(profile), paths.archived_folder(profile))
    if out is not None:
        for name, table in comparison.PRINTED.items():
            export.save(table(study), out / name)
        typer.echo(f"{len(comparison.PRINTED)} tables, each as CSV and LaTeX, in {out}")
        return
    if not study.runs:
        typer.echo(f"no completed runs of {profile}")
        return
    typer.echo(textwrap.fill(str(answers.results(study)), TERMINAL) + "\n")
    verdicts = comparison.own_verdicts(study).reset_index()[["claim", "verdict", "expected", registry.OURS]]
    if markdown:
        tables = filter(len, (verdicts, comparison.own_aucs(study)))
        typer.echo("\n\n".join(map(formatting.markdown, tables)))
        return
    for claim, verdict, expected, ours in verdicts.itertuples(index=False):
        found = ", ".join(filter(None, (ours, expected and f"expected {expected}"))) or "no runs"
        said = textwrap.fill(f"{verdict.capitalize()} ({found}): {claim}", TERMINAL, subsequent_indent="    ")
        typer.echo(f"{said}\n")
    for table in comparison.main_tables(study):
        typer.echo(table.to_string(line_width=TERMINAL) + "\n")
    typer.echo(textwrap.fill(study.about, TERMINAL))


def submission(run: Annotated[Path, typer.Argument(help="Folder of a run, live or archived.")]) -> None:
    """Print a run's test scores in the challenge's submission format."""
    from arlrepro.evaluation import submission as scoring
    from arlrepro.runs.archive import read_run

    table = scoring.submission(read_run(run).predictions)
    typer.echo(table.to_csv(index=False, float_format="%.9g", lineterminator="\n"), nl=False)


def score(
    predictions: Annotated[Path, typer.Argument(help="CSV: image_id,melanoma,seborrheic_keratosis; scores in [0, 1].")],
    truth: Annotated[Path, typer.Option(help="CSV of the same columns with 0 and 1.")],
    against: Annotated[
        Path | None, typer.Option(help="Another prediction file to compare with, lesion by lesion.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole result as JSON and nothing else.")] = False,
) -> None:
    """Score anyone's predictions with the challenge's metrics, each with its 95 % interval."""
    from arlrepro.evaluation import submission as scoring

    report = scoring.score(predictions, truth, against)
    typer.echo(scoring.to_json(report) if as_json else scoring.to_text(report), nl=False)


def predict(
    images: Annotated[list[Path], typer.Argument(help="Dermoscopic images, or folders or zip archives of them.")],
    out: Annotated[Path, typer.Option(help="Folder to make: predictions.csv and a picture for each image.")],
    run: Annotated[str, typer.Option(help="Folder or id of a run; by default one whose weights are given away.")] = "",
    weights: Annotated[
        Path | None, typer.Option(help="A run's file of weights, wherever it lies, in place of --run.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Score dermoscopic images and draw where the network looked. Research software, not a medical device."""
    from arlrepro.runs.predict import find_run, score_images
    from arlrepro.runs.weights import run_of

    if run and weights is not None:
        raise ConfigError("predict takes a network from --run RUN or from --weights FILE: give one of the two")
    network = find_run(run) if weights is None else run_of(weights)
    scored = score_images(images, network, out, device, weights)
    if len(scored.table):
        typer.echo(scored.table.drop(columns=["file", "note"]).to_string(index=False))
        typer.echo("\n".join(scored.table["note"].unique()))
    for reason, names in scored.skipped.items():
        typer.echo(f"passed over: {len(names)} {reason}: {some(names)}", err=True)
    for problem in scored.failed.values():
        typer.echo(problem, err=True)
    if scored.failed:
        raise typer.Exit(1)


def book(
    profile: ProfileName = "demo",
    data: Data = "",
    publish: Annotated[
        bool, typer.Option("--publish", help="Write the pages of book/<profile>/ that are committed.")
    ] = False,
    pdf: Annotated[Path | None, typer.Option(help="Print the committed pages into this file instead.")] = None,
) -> None:
    """Run the notebooks for a profile and build the site; with --publish, renew the committed pages instead."""
    from arlrepro.book import site as pages

    if pdf is not None:
        typer.echo(f"{pdf}, printed from {pages.report(pdf)}")
    elif not publish:
        index, seconds = pages.make(profile, data)
        for part, spent in seconds.items():
            typer.echo(f"{part:>20} {spent:6.0f} s")
        typer.echo(str(index))
    elif data:
        raise ConfigError("--publish takes no --data: committed pages come from the archive alone")
    else:
        for page in pages.publish(profile):
            typer.echo(str(page))
