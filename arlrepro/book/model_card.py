"""The card of a network whose weights are given away: what it is, what it reaches, what it is not for; all computed."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml

from arlrepro import paths, registry, storage
from arlrepro.book.tables import baselines, calibration
from arlrepro.evaluation import formatting
from arlrepro.profiles import profile
from arlrepro.registry import METRICS, ROWS, TASK_WORDS, classes_of
from arlrepro.runs import estimates
from arlrepro.runs.archive import Run
from arlrepro.runs.study import Study, read_study
from arlrepro.runs.weights import licence


def write(run: Run) -> Path:
    """Write a run's card beside its committed weights, `weights/<id>.md`."""
    path = paths.committed_weights(run.id).with_suffix(".md")
    storage.write_text(path, as_markdown(run))
    return path


def as_markdown(run: Run) -> str:
    """The card in Markdown, with the header that model hubs read.

    Args:
        run: the network's; in a folder named after its profile, beside the archived runs of which its figures over all
            seeds and by subgroup are computed.
    """
    profile_name = run.folder.parent.name if run.folder else ""
    # Reason: figures over seeds are of runs with this run's settings, whatever the profile's are.
    planned = replace(profile(profile_name), experiment=run.experiment)
    study, alone = read_study(planned, paths.archived_folder(profile_name)), Study(planned, (run,))
    header = {
        "license": licence(run).lower(),
        "library_name": "arlrepro",
        "pipeline_tag": "image-classification",
        "tags": ["dermoscopy", "melanoma", run.network],
    }
    about = {
        "scores": ", ".join(map(TASK_WORDS.__getitem__, classes_of(run.experiment.task))),
        "parameters": f"{registry.NETWORKS[run.network].parameters:,}",
        "started from": registry.start(run.experiment.network.weights),
        "protocol": f"{profile_name}, {run.experiment.hash}: {planned.purpose}",
        "seed": str(run.seed),
        "run": f"`results/{profile_name}/{run.id}`",
        "licence": licence(run),
    }
    sections = (
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {registry.network(run.network)}, seed {run.seed}",
        "**Research software, not a medical device.** What it must not be used for stands in "
        "[the model card of all networks](../book/model_card.md).",
        formatting.markdown(pd.DataFrame({"": about.keys(), " ": about.values()})),
        "## On the test lesions",
        "95 % intervals over lesions; over all seeds of this network they are over seeds and lesions. Accuracy, "
        "sensitivity and specificity are at a score of one half.",
        formatting.markdown(_figures(alone, study)),
        "## As probabilities",
        "`arlrepro predict` gives a probability beside the score: its log-odds are divided by a temperature that was "
        "fitted on the validation lesions. ECE is the expected calibration error on the test lesions. Where a disease "
        "is more or less common than there, neither is a probability.",
        formatting.markdown(calibration.calibration(alone).drop(columns="network")),
        "## By subgroup",
        _by_subgroup(study, run.network),
    )
    return "\n\n".join(sections) + "\n"


def _figures(alone: Study, study: Study) -> pd.DataFrame:
    """A row a class that the network of one run scores, and their mean: its figures, and the AUC over all its seeds."""
    (run,), rows = alone.runs, []
    for task, quantities in ROWS.items():
        found = {name: estimates.known(estimates.metric, alone, run.network, one) for name, one in quantities.items()}
        if not any(found.values()):
            continue
        shown = {METRICS[name]: one.estimate.text() if one else "" for name, one in found.items()}
        every = estimates.known(estimates.metric, study, run.network, quantities["auc"])
        over_seeds = f"{every.estimate.text()} ({formatting.seeds(every.seeds)})" if every else ""
        rows.append({"task": TASK_WORDS[task], **shown, "AUC over all seeds": over_seeds})
    return pd.DataFrame(rows).fillna("")


def _by_subgroup(study: Study, network: str) -> str:
    """A network's figures by sex and age group, over all its seeds, where the archive has them."""
    unknown = "Skin colour is not recorded in the data, so nothing is known of it."
    groups = baselines.subgroups(study).reset_index()
    of_network = groups[groups["network"] == registry.network(network)] if len(groups) else groups
    if of_network.empty:
        return f"Not measured for this network. {unknown}"
    said = "Of the validation lesions whose patient's age and sex are known; of the test lesions they are not."
    return f"{said} {unknown}\n\n{formatting.markdown(of_network.drop(columns='network'))}"
