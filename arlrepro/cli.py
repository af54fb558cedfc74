"""The commands, thin: each reads its arguments, calls one function and says what came out.

Exit status: 0 done; 1 it ran and something in the input was bad; 2 it could not start.
"""

import sys
import textwrap
import warnings
from pathlib import Path
from typing import Annotated

import typer

from arlrepro import config, profiles, registry, storage
from arlrepro.errors import ArlReproError, ConfigError, said, some
from arlrepro.progress import go_on_unread

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(no_args_is_help=True, help="Images and labels: synthesise, check and decode them.")
app.add_typer(data_app, name="data")

#: Columns of a terminal that a table is folded to.
TERMINAL = 100

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
        "--on", help="local; ray (this machine, side by side); auto (the cluster it is in); ray://HOST:10001 (another)."
    ),
]
CpusPerRun = Annotated[float, typer.Option(help="Of a node, on Ray; fractions share.")]
GpusPerRun = Annotated[float | None, typer.Option(help="The same; by default one, where a node has one.")]


def _print_version(asked: bool) -> bool:
    if asked:
        from importlib.metadata import version

        typer.echo(f"arlrepro {version('arlrepro')}")
        raise typer.Exit
    return asked


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A reproducible replication of ARL-CNN (Zhang et al., IEEE TMI 2019)."""


@data_app.command("download")
def download(
    root: Annotated[Path, typer.Argument(help="Folder for the official files.")],
    base_url: Annotated[str | None, typer.Option(help="Another server with the same files.")] = None,
    masks: Annotated[bool, typer.Option(help="Fetch the lesion masks too.")] = False,
) -> None:
    """Fetch the official ISIC-2017 files (about 12 GB) and verify them; a broken transfer goes on where it stopped."""
    from arlrepro.data import download as fetching

    files = fetching.download(root, base_url=base_url or fetching.BASE_URL, masks=masks)
    typer.echo(f"{len(files)} files, whole and verified, in {root}")


@data_app.command("extra")
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


@data_app.command("synth")
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


@data_app.command("check")
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


@data_app.command("prepare")
def prepare(profile: ProfileName = "demo", data: Data = "", settings: Settings = None) -> None:
    """Decode every image once into the memory-mapped array that training reads."""
    from arlrepro.data import datasets

    experiment = config.with_settings(profiles.profile(profile).experiment, settings or [])
    images = datasets.open_images(experiment, data)[1]
    typer.echo(f"{len(images.image_ids)} images of {images.side} px, data set {images.fingerprint[:12]}")


@app.command("train")
def train(
    network: Annotated[str, typer.Option(help=f"One of {', '.join(registry.NETWORKS)}.")],
    profile: ProfileName = "demo",
    task: Annotated[
        str | None, typer.Option(help="melanoma, seborrheic_keratosis or joint; the profile's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the patches.")] = 0,
    data: Data = "",
    device: Device = "auto",
    settings: Settings = None,
    log: Log = "none",
    deterministic: Deterministic = False,
    checkpoint_every: Annotated[float, typer.Option(help="Seconds; so much is lost at most if it is killed.")] = 300.0,
    weights_dir: WeightsFolder = None,
) -> None:
    """Train one network, or show the run if it is there; an interrupted run goes on where it stopped.

    Several GPUs or machines: torchrun --nproc-per-node N -m arlrepro.cli train ... --set train.parts=N
    """
    import yaml

    from arlrepro import paths
    from arlrepro.runs import runner

    _choose_kernels(deterministic)
    _choose_weights(weights_dir)
    chosen = profiles.profile(profile)
    stored = config.to_dict(chosen.experiment)
    stored["task"] = task or chosen.tasks[0]
    stored["network"]["name"] = network
    experiment = config.with_settings(config.from_dict(stored), settings or [])
    typer.echo(yaml.safe_dump(config.to_dict(experiment), sort_keys=False), err=True)
    run = runner.train_or_load(
        experiment,
        seed,
        paths.live_folder(profile),
        data=data,
        device=device,
        log=log,
        checkpoint_every=checkpoint_every,
    )
    typer.echo(str(run.folder))


@app.command("reproduce")
def reproduce(
    profile: ProfileName = "demo",
    data: Data = "",
    device: Device = "auto",
    missing: Annotated[
        bool, typer.Option("--missing", help="Leave out the runs that are archived in results/, too.")
    ] = False,
    log: Log = "none",
    deterministic: Deterministic = False,
    weights_dir: WeightsFolder = None,
    on: On = "local",
    cpus_per_run: CpusPerRun = 1.0,
    gpus_per_run: GpusPerRun = None,
    storage: Annotated[
        str, typer.Option(help="Where checkpoints lie, on Ray: a folder all nodes see, s3://...; by default here.")
    ] = "",
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds, on Ray; so much is lost at most with a worker or a node.")
    ] = 120.0,
) -> None:
    """Make every run of a profile that is not here yet, and print ResNet against ARL, or the runs of its variants."""
    from arlrepro.book.tables import comparison, runs
    from arlrepro.runs import matrix

    _choose_kernels(deterministic)
    _choose_weights(weights_dir)
    engine = matrix.one_after_another
    if on != "local":
        from arlrepro.runs.cluster.engine import RayEngine
        from arlrepro.runs.cluster.nodes import Resources

        engine = RayEngine(Resources(on, cpus_per_run, gpus_per_run), storage, checkpoint_every)
    study = matrix.reproduce(profile, data, device, missing_only=missing, log=log, engine=engine)
    table = runs.runs_table(study) if study.profile.variants else comparison.main_tables(study)[0]
    typer.echo(table.to_string())


@app.command("sweep")
def sweep(
    over: Annotated[
        list[str], typer.Option(help="A field and its values, for example train.learning_rate=1e-4,2e-4; repeat it.")
    ],
    name: Annotated[str, typer.Option(help="What is tried, in words, for the archive.")],
    profile: ProfileName = "isic2017-256-imagenet",
    network: Annotated[str | None, typer.Option(help="Of the trials; the profile's first.")] = None,
    seed: Annotated[int, typer.Option(help="Of the trainings; none of a registered run.")] = 100,
    by: Annotated[
        str, typer.Option(help="Judges: held-out (a fifth of the training images, and validation) or validation.")
    ] = "held-out",
    data: Data = "",
    device: Device = "auto",
    settings: Settings = None,
    weights_dir: WeightsFolder = None,
    on: On = "ray",
    cpus_per_run: CpusPerRun = 1.0,
    gpus_per_run: GpusPerRun = None,
) -> None:
    """Try settings on training and validation images alone, by Ray Tune or one by one; print and archive the trials."""
    from dataclasses import replace

    from arlrepro.runs.cluster import sweep as trying
    from arlrepro.runs.cluster.nodes import Resources

    _choose_weights(weights_dir)
    experiment = profiles.profile(profile).experiments()[0]
    if network is not None:
        experiment = replace(experiment, network=replace(experiment.network, name=network))
    trials = trying.sweep(
        config.with_settings(experiment, settings or []),
        over,
        Resources(on, cpus_per_run, gpus_per_run),
        data=data,
        device=device,
        seed=seed,
        by=by,
    )
    typer.echo(trials.to_string())
    typer.echo(str(trying.write_trials(profile, name, trials)))


@app.command("results")
def results(
    profile: ProfileName = "isic2017-256",
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The main table as Markdown, as the README has it.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write each table into this folder, as CSV and LaTeX.")] = None,
) -> None:
    """Compute the tables of the book again from the archived predictions; no data, no GPU."""
    from arlrepro import paths
    from arlrepro.book import export
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
    if markdown:
        typer.echo(formatting.markdown(comparison.resnet_vs_arl(study)[["AUC", "our runs"]].reset_index()))
        return
    for table in comparison.main_tables(study) if study.runs else []:
        typer.echo(table.to_string(line_width=TERMINAL) + "\n")
    typer.echo(textwrap.fill(study.about, TERMINAL) if study.runs else f"no completed runs of {profile}")


@app.command("baseline")
def baseline(profile: ProfileName = "isic2017-256", data: Data = "") -> None:
    """Score lesions by colour alone, and by age and sex alone; archive it, and the runs' metrics by group of people."""
    from arlrepro.runs import baselines

    for path in baselines.write(profile, data):
        typer.echo(str(path))


@app.command("archive")
def archive(
    run: Annotated[list[Path], typer.Argument(help="Folders of finished runs, runs/<profile>/<id>.")],
    weights: Annotated[
        bool, typer.Option("--weights", help="Also write the weights to give away, in float16, and their model card.")
    ] = False,
) -> None:
    """Copy what readers need of finished runs to results/<profile>/, small text files; the weights only if asked."""
    from arlrepro import paths
    from arlrepro.runs import runner

    for folder in run:
        typer.echo(str(runner.archive(folder, paths.archived_folder(folder.resolve().parent.name))))
        if weights:
            from arlrepro.book import model_card
            from arlrepro.runs.archive import read_run
            from arlrepro.runs.weights import commit_weights

            typer.echo(str(commit_weights(folder)))
            typer.echo(str(model_card.write(read_run(folder))))


@app.command("measure")
def measure(
    run: Annotated[list[Path], typer.Argument(help="Folders of finished runs, runs/<profile>/<id>.")],
    data: Data = "",
    device: Device = "auto",
) -> None:
    """Measure finished runs again from their weights, after a measure was added; the scores stay as they are."""
    from arlrepro.runs import runner

    for folder in run:
        typer.echo(runner.measure_again(folder, data, device).id)


@app.command("external")
def external(
    root: Annotated[Path, typer.Argument(help="HAM10000, the official layout, or a folder of images with one CSV.")],
    name: Annotated[str, typer.Option(help="What to call the data set in the archive.")],
    profile: ProfileName = "isic2017-256",
    device: Device = "auto",
) -> None:
    """Score another data set with the runs whose weights are here, and archive the numbers beside them."""
    from arlrepro.runs.predict import external_test, external_test_path, write_external_test

    external_test_path(profile, name)  # refuses a name that is none before anything is scored
    typer.echo(str(write_external_test(profile, name, external_test(profile, root, device))))


@app.command("submission")
def submission(run: Annotated[Path, typer.Argument(help="Folder of a run, live or archived.")]) -> None:
    """Print a run's test scores in the challenge's submission format."""
    from arlrepro.evaluation import submission as scoring
    from arlrepro.runs.archive import read_run

    table = scoring.submission(read_run(run).predictions)
    typer.echo(table.to_csv(index=False, float_format="%.9g", lineterminator="\n"), nl=False)


@app.command("score")
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


@app.command("predict")
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


@app.command("book")
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


def _choose_kernels(deterministic: bool) -> None:
    if deterministic:
        from arlrepro.training import distributed

        distributed.use_deterministic_kernels()


def _choose_weights(folder: Path | None) -> None:
    if folder is not None:
        from arlrepro.models import pretrained

        pretrained.use_folder(folder)


def main() -> None:
    """Run a command; what a user can mend ends in one line and exit status 2, not in a traceback."""
    # Reason: what Pillow warns of, a file that may unpack without end, is refused in one line: `data.files.images`.
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")
    go_on_unread()
    try:
        app()
    except (ArlReproError, OSError) as error:
        line = said(error) if isinstance(error, OSError) else str(error)
        typer.echo(f"arlrepro: {line}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
