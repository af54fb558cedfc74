"""Commands that make runs, measure them and archive them."""

from pathlib import Path
from typing import Annotated

import typer

from arlrepro import config, profiles, registry
from arlrepro.cli.options import (
    CpusPerRun,
    Data,
    Deterministic,
    Device,
    GpusPerRun,
    Log,
    On,
    ProfileName,
    Settings,
    WeightsFolder,
    choose_kernels,
    choose_weights,
)


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

    Several GPUs or machines: torchrun --nproc-per-node N -m arlrepro train ... --set train.parts=N
    """
    import yaml

    from arlrepro import paths
    from arlrepro.runs import runner

    choose_kernels(deterministic)
    choose_weights(weights_dir)
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

    choose_kernels(deterministic)
    choose_weights(weights_dir)
    engine = matrix.side_by_side
    if on != "local":
        from arlrepro.runs.cluster.engine import RayEngine
        from arlrepro.runs.cluster.nodes import Resources

        engine = RayEngine(Resources(on, cpus_per_run, gpus_per_run), storage, checkpoint_every)
    study = matrix.reproduce(profile, data, device, missing_only=missing, log=log, engine=engine)
    table = runs.runs_table(study) if study.profile.variants else comparison.main_tables(study)[0]
    typer.echo(table.to_string())


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

    choose_weights(weights_dir)
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


def measure(
    run: Annotated[list[Path], typer.Argument(help="Folders of finished runs, runs/<profile>/<id>.")],
    data: Data = "",
    device: Device = "auto",
) -> None:
    """Measure finished runs again from their weights, after a measure was added; the scores stay as they are."""
    from arlrepro.runs import runner

    for folder in run:
        typer.echo(runner.measure_again(folder, data, device).id)


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


def baseline(profile: ProfileName = "isic2017-256", data: Data = "") -> None:
    """Score lesions by colour alone, and by age and sex alone; archive it, and the runs' metrics by group of people."""
    from arlrepro.runs import baselines

    for path in baselines.write(profile, data):
        typer.echo(str(path))


def external(
    root: Annotated[Path, typer.Argument(help="HAM10000, the official layout, or a folder of images with one CSV.")],
    name: Annotated[str, typer.Option(help="What to call the data set in the archive.")],
    profile: ProfileName = "isic2017-256",
    data: Annotated[
        str, typer.Option(help="What the runs were made from: leaves its lesions out, and scores by colours, too.")
    ] = "",
    device: Device = "auto",
    settings: Settings = None,
) -> None:
    """Score another data set with the runs whose weights are here, and archive the numbers beside them.

    With `--set evaluation.patches_per_scale=0` by the whole image in place of nine patches, in a ninth of the time.
    """
    from arlrepro.runs import external as tests

    tests.path_of(profile, name)  # refuses a name that is none before anything is scored
    typer.echo(str(tests.write(profile, name, tests.external_test(profile, root, device, settings or [], data))))
