"""Every run that can be looked at: its metrics and folder, what made it, the command that makes it again."""

import html
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from arlrepro import registry
from arlrepro.book.export import NOTHING
from arlrepro.config import Experiment, to_dict
from arlrepro.evaluation import formatting
from arlrepro.paths import RESULTS, root
from arlrepro.profiles import ISIC2017_256_IMAGENET, PROFILES, profile
from arlrepro.registry import CLASSES, classes_of
from arlrepro.runs.archive import FILES, MEASURES, Run
from arlrepro.runs.study import Study, list_runs
from arlrepro.storage import MANIFEST

if TYPE_CHECKING:
    from IPython.display import HTML

DATA = "/path/to/folder"  # of the real images, in commands
METRICS_AGAIN = (
    "arlrepro submission {} > scores.csv\narlrepro score scores.csv --truth ISIC-2017_Test_v2_Part3_GroundTruth.csv"
)
#: What each file of a run says; paths of the site are those of the repository.
SAYS = {
    "config.yaml": "settings, seed, fingerprint of the images",
    "environment.json": "versions, device, time",
    "history.csv": "loss, validation AUC and α by epoch",
    "attention.csv": "size of the attention term by block",
    "metrics.json": "test and validation metrics, unrounded",
    "predictions.csv": "a score for every lesion",
    "removal.csv": "scores with α set to 0",
    "focus.csv": "energy of the activation map in each lesion's mask",
    "maps.csv": "activation maps and masks of the synthetic lesions",
    "patches.csv": "where the evaluation patches lie",
}


#: The columns of the table of runs.
HEADS = ("network", "seed", "settings", *(f"AUC, {registry.TASK_WORDS[one]}" for one in CLASSES), "mean AUC", "minutes")
#: Its page lists the whole archive; those of other studies list what is their own.
MAIN = ISIC2017_256_IMAGENET.name

FILTER = """<p><label for="runs-filter">Filter</label>
<input id="runs-filter" type="search" placeholder="arl_cnn50 s3"> <output id="runs-shown"></output></p>
<script>
document.getElementById("runs-filter").addEventListener("input", ({target}) => {
  const words = target.value.toLowerCase().split(/\\s+/), runs = [...document.querySelectorAll("tbody[id^=run-]")];
  for (const run of runs)
    run.hidden = !words.every(word => (run.closest("section").id + run.id).toLowerCase().includes(word));
  for (const section of document.querySelectorAll("section.runs"))
    section.hidden = !section.querySelector("tbody[id^=run-]:not([hidden])");
  document.getElementById("runs-shown").textContent = `${runs.filter(run => !run.hidden).length} of ${runs.length}`;
});
</script>
"""


def runs_of(study: Study) -> dict[str, list[Run]]:
    """The runs to be listed, by profile: a study's own, its companions', and of the main study the whole archive."""
    found = {study.profile.name: list(study.runs)}
    if study.profile.experiment.data.source != "synthetic":
        for folder in sorted(path for path in (root() / RESULTS).glob("*") if path.is_dir()):
            if study.profile.name == MAIN or (folder.name.startswith(f"{study.profile.name}-") and folder.name != MAIN):
                known = {run.id for run in found.setdefault(folder.name, [])}
                found[folder.name] += [run for run in list_runs(folder) if run.id not in known]
    return {name: runs for name, runs in found.items() if runs}


def command(run: Run, profile_name: str) -> str:
    """The command that trains a run again.

    Example:
        >>> import pandas as pd
        >>> from arlrepro.config import with_settings
        >>> from arlrepro.profiles import ISIC2017_256
        >>> changed = with_settings(ISIC2017_256.experiment, ["train.epochs=5"])
        >>> empty = pd.DataFrame()
        >>> print(command(Run(changed, 1, "", {}, empty, empty, empty), "isic2017-256"))
        arlrepro train --profile isic2017-256 --network arl_cnn50 --task joint --seed 1 --set train.epochs=5 \
--data /path/to/folder
    """
    options: list[str] = ["--profile", profile_name if profile_name in PROFILES else "paper"]
    options += ["--network", run.network, "--task", run.experiment.task, "--seed", str(run.seed)]
    for setting in changed_settings(run.experiment, profile(options[1]).experiment):
        options += ["--set", setting]
    if run.experiment.data.source != "synthetic":
        options += ["--data", DATA]
    return shlex.join(["arlrepro", "train", *options])


def changed_settings(experiment: Experiment, base: Experiment) -> Iterator[str]:
    """The fields in which an experiment differs from another one, as `--set` takes them, but for network and task."""
    ours = to_dict(experiment)
    for section, fields in to_dict(base).items():
        for name in fields if isinstance(fields, dict) else ():  # the task is no section
            if ours[section][name] != fields[name] and (section, name) != ("network", "name"):
                value = ours[section][name]
                yield f"{section}.{name}={value if isinstance(value, str) else json.dumps(value)}"


def sheets(study: Study) -> "HTML":
    """A table of runs, each with a line that opens to environment, files, settings and commands; a box filters them.

    Tables of the book link to it by the attribute `data-name`: the words they use for a run or for a network.
    """
    from IPython.display import HTML

    parts = []
    for profile_name, runs in runs_of(study).items():
        name = html.escape(profile_name)  # of a folder, which anyone may have named
        parts.append(f'<section class="runs" id="of-{name}"><h3>{name}</h3><table class="dataframe">')
        parts.append(f"<thead><tr>{''.join(f'<th>{one}</th>' for one in HEADS)}</tr></thead>")
        seen: set[str] = set()
        for run in runs:
            first, seen = run.network not in seen, seen | {run.network}
            parts.append(_sheet(run, profile_name, f"{name}-{run.network}" if first else ""))
        parts.append("</table></section>")
    return HTML(FILTER + "\n".join(parts) if parts else f"<p>{NOTHING}s yet.</p>")


def _sheet(run: Run, profile_name: str, anchor: str) -> str:
    """Two rows of a table: what is most wanted of a run, and what opens to all of it; an anchor for its network."""
    in_site = (RESULTS / profile_name / run.id).as_posix()
    is_here = run.folder is not None and run.folder.is_relative_to(root())
    where = run.folder.relative_to(root()).as_posix() if run.folder and is_here else in_site
    facts = {
        "network, task, seed": (
            f"{registry.network(run.network)}, {registry.TASK_WORDS[run.experiment.task]}, seed {run.seed}"
        ),
        "test AUC": "; ".join(_aucs_in_words(run)),
        "trained": _trained(run.environment, len(run.history)),
        "versions": _versions(run.environment),
        "images": f"fingerprint {run.data_fingerprint[:12]}",
        "folder": where,
    }
    rows = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in facts.items() if text)
    files = "".join(
        f'<li><a href="../{html.escape(in_site)}/{name}">{name}</a>: {SAYS.get(name, "measured with the weights")}</li>'
        for name in _files(run)
    )
    settings = html.escape(yaml.safe_dump(to_dict(run.experiment), sort_keys=False))
    commands = f"# Train it again\n{command(run, profile_name)}"
    if run.experiment.data.source != "synthetic":
        commands += f"\n# Its metrics again, from the archived scores\n{METRICS_AGAIN.format(where)}"
    network = registry.network(run.network)
    named = f' id="{anchor}" data-name="{network}"' if anchor else ""
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in _in_a_line(run))
    return (
        f'<tbody id="run-{run.id}" data-name="{run.id}"><tr><th{named}>{network}</th>'
        f'<td id="seed-{run.id}" data-name="{network}, seed {run.seed}">{run.seed}</td>{cells}</tr>'
        f'<tr><td colspan="{len(HEADS)}"><details><summary>{run.id}</summary>'
        f'<table class="dataframe">{rows}</table><ul>{files}</ul>'
        f"<details><summary>Every setting</summary><pre>{settings}</pre></details>"
        f"<pre>{html.escape(commands)}</pre></details></td></tr></tbody>"
    )


def _in_a_line(run: Run) -> Iterator[str]:
    """The most wanted of a run, as `HEADS` has it from the third on."""
    yield run.experiment.hash
    yield from (text for _, text in _test_aucs(run))
    yield formatting.number(run.environment["seconds"] / 60, 1)


def _files(run: Run) -> list[str]:
    measured = [f"{name}.csv" for name in MEASURES if name in run.measures]
    sealed = run.folder is None or (run.folder / MANIFEST).is_file()  # runs of an older version are not
    return [*FILES, *measured, *([MANIFEST] if sealed else [])]


def _aucs_in_words(run: Run) -> Iterator[str]:
    for name, figures in run.metrics["test"].items():
        if isinstance(figures, dict) and "auc" in figures:
            yield f"{registry.TASK_WORDS[name]} {figures['auc']:.3f}"
        elif name == "mean_auc":
            yield f"mean {figures:.3f}"


def _trained(environment: dict[str, Any], epochs: int) -> str:
    minutes = environment["seconds"] / 60
    where = f"{environment['device']}, threads: {environment['threads']}, {environment['system']}"
    return f"{epochs} epoch{'s' * (epochs > 1)} in {minutes:.1f} minutes on {where}"


def _versions(environment: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return f"Python {environment['python']}, {packages}"


def text_files(folder: Path) -> Iterator[Path]:
    """The text files of the runs in a live folder, relative to it: what a site made here links to."""
    for run in list_runs(folder):
        yield from (Path(run.id) / name for name in _files(run))


def _test_aucs(run: Run) -> Iterator[tuple[str, str]]:
    for task in CLASSES:
        scored = task in classes_of(run.experiment.task)
        yield f"AUC, {registry.TASK_WORDS[task]}", formatting.number(run.metrics["test"][task]["auc"]) if scored else ""
    yield "mean AUC", formatting.number(run.metrics["test"].get("mean_auc"))


def runs_table(study: Study) -> pd.DataFrame:
    """Each planned run of a study: test AUCs, how long it took on what, and its folder in the archive.

    Returns:
        One row a run of the profile's matrix, by task, network and seed; where it is not there yet, the last column
        says so and the others are empty.
    """
    there = {run.id: run for run in study.runs}
    rows = []
    for experiment in study.profile.experiments():
        for seed in study.profile.seeds:
            run = there.get(experiment.run_id(seed))
            rows.append(
                {
                    "network": registry.network(experiment.network.name),
                    "task": registry.TASK_WORDS[experiment.task],
                    "seed": seed,
                    **(_of_run(run) if run else {}),
                    "folder": (RESULTS / study.profile.name / run.id).as_posix() if run else "not completed yet",
                }
            )
    columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    return pd.DataFrame(rows, columns=columns).fillna("")


def _of_run(run: Run) -> dict[str, object]:
    return {
        "started from": registry.start(run.experiment.network.weights),
        **dict(_test_aucs(run)),
        "epochs": str(len(run.history)),
        "minutes": formatting.number(run.environment["seconds"] / 60, 1),
        "device": run.environment["device"],
        "threads": str(run.environment["threads"]),
    }


def missing(study: Study) -> str:
    """Which runs of the profile's matrix are not there yet, in a sentence."""
    planned = len(study.profile.experiments()) * len(study.profile.seeds)
    if not study.missing:
        return f"All {planned} planned runs are completed."
    lacking = []
    for experiment in study.profile.experiments():
        some = tuple(seed for seed in study.profile.seeds if experiment.run_id(seed) in study.missing)
        if some:
            variant = "" if experiment.hash == study.profile.experiment.hash else f", settings {experiment.hash}"
            lacking.append(f"{registry.network(experiment.network.name)}{variant}, {formatting.seeds(some)}")
    return f"{len(study.missing)} of {planned} planned runs are not completed yet: {'; '.join(lacking)}."
