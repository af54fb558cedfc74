"""Results as tables to be read: a Study in, a DataFrame with words for headers out; no network, no image."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from arlrepro import outcomes, pairing, words
from arlrepro.archive import RESULTS, Run, Study
from arlrepro.claims import Verdict, parameters, published_effect, sizes
from arlrepro.comparisons import Difference, equivalence_p, holm
from arlrepro.config import CLASSES, IMAGENET, LITE, classes_of
from arlrepro.errors import MetricError
from arlrepro.paper import published, published_value

PAPER, OURS = "paper", "ours [95 % CI]"
AUCS = ("mean_auc", *(f"{task}.auc" for task in CLASSES))
#: The columns of the table of differences.
DIFFERENCES = [
    *("comparison", "figure", PAPER, OURS, "p", "p (Holm)", "margin", "p (smaller than the margin)"),
    *("error through lesions", "error through seeds", "seeds", "interval over"),
]
#: The rows of a network in the main table: a task and its quantities by metric.
ROWS = {
    **{task: {metric: f"{task}.{metric}" for metric in words.METRICS} for task in CLASSES},
    "mean": {"auc": "mean_auc"},
}


def networks_of_paper() -> list[str]:
    """Our names of the networks for which a number of the paper itself is known, in the order of the file."""
    known = published().dropna(subset="value")
    return list(dict.fromkeys(known.loc[known["origin"] == "paper", "network"]))


def resnet_vs_arl(study: Study) -> pd.DataFrame:
    """The main table: each network's test figures, the paper's beside ours.

    Returns:
        Rows: network and task, the networks of the study and those whose published figures are known. Columns: AUC,
        ACC, SEN and SPE at 0.5, each the paper's and ours with its 95 % interval; ours averaged over the seeds, which
        the last columns name with what the interval covers. Empty: not known, or not run.
    """
    shown = list(dict.fromkeys([*study.profile.networks, *networks_of_paper()]))
    shown.sort(key=lambda network: (list(words.NETWORKS).index(network) // 2, list(words.NETWORKS).index(network)))
    rows = {}
    for network in shown:
        for task, quantities in ROWS.items():
            row: dict[tuple[str, str], str] = {}
            over = ("", "")
            for metric, quantity in quantities.items():
                row[words.METRICS[metric], PAPER] = words.number(published_value(network, quantity))
                row[words.METRICS[metric], OURS] = ""
                if ours := outcomes.known(outcomes.figure, study, network, quantity):
                    row[words.METRICS[metric], OURS] = words.with_interval(ours.estimate)
                    over = (words.seeds(ours.seeds), ours.over)
            row["our runs", "seeds"], row["our runs", "interval over"] = over
            rows[words.network(network), words.TASKS[task]] = row
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    table.index.names = ["network", "task"]
    return table


def _test_aucs(run: Run) -> Iterator[tuple[str, str]]:
    for task in CLASSES:
        scored = task in classes_of(run.experiment.task)
        yield f"AUC, {words.TASKS[task]}", words.number(run.metrics["test"][task]["auc"]) if scored else ""
    yield "mean AUC", words.number(run.metrics["test"].get("mean_auc"))


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
                    "network": words.network(experiment.network.name),
                    "task": words.TASKS[experiment.task],
                    "seed": seed,
                    **(_of_run(run) if run else {}),
                    "folder": (RESULTS / study.profile.name / run.id).as_posix() if run else "not there yet",
                }
            )
    columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    return pd.DataFrame(rows, columns=columns).fillna("")


def _of_run(run: Run) -> dict[str, object]:
    return {
        "started from": words.start(run.experiment.network.weights),
        **dict(_test_aucs(run)),
        "epochs": str(len(run.history)),
        "minutes": words.number(run.environment["seconds"] / 60, 1),
        "device": run.environment["device"],
        "threads": str(run.environment["threads"]),
    }


def verdicts(decided: Sequence[Verdict]) -> pd.DataFrame:
    """Each claim with its verdict, what was expected, what was found and what that rests on."""
    rows = []
    for one in decided:
        is_difference = one.claim.rule == "difference"
        as_text = "{:+.3f}" if is_difference else "{:.0f}" if one.claim.rule == "exact" else "{:.3f}"
        rows.append(
            {
                "claim": one.claim.claim + (" (exploratory)" if one.claim.exploratory else ""),
                "verdict": one.shown,
                "expected": "" if one.effect is None else as_text.format(one.effect),
                OURS: one.found,
                "p (Holm)": words.p_value(one.p_adjusted),
                "runs": len(one.runs) or "",
                "why": one.reason,
            }
        )
    return pd.DataFrame(rows)


def differences(study: Study) -> pd.DataFrame:
    """Is the other network better than the ResNet of its depth? Differences of test AUCs on the same lesions.

    Returns:
        A row a pair and AUC: the paper's difference of that depth, ours with its interval, p and p after Holm over the
        three AUCs of the pair; the margin of equivalence, which is the paper's difference at 50 layers, and p of the
        claim that ours is smaller than that to both sides (exploratory: the margin was set after a first look); and
        the standard errors through lesions and through seeds. Pairs without runs are left out.
    """
    rows = []
    for base, other in pairing.partners(study):
        known = {one: outcomes.known(outcomes.difference, study, (base, other), one) for one in AUCS}
        found = {quantity: ours for quantity, ours in known.items() if ours}
        # Reason: a member of the family that has no runs counts as p = 1, so that the family keeps its size.
        adjusted = holm(np.array([found[one].estimate.p if one in found else 1.0 for one in AUCS]))
        for (quantity, ours), p_holm in zip(known.items(), adjusted, strict=True):
            if ours is None:
                continue
            gain = published_effect((base, other), quantity)
            rows.append(
                {
                    "comparison": f"{words.network(other)} minus {words.network(base)}",
                    "figure": words.QUANTITIES[quantity],
                    PAPER: "" if gain is None else f"{gain:+.3f}",
                    OURS: words.signed(ours.estimate),
                    "p": words.p_value(ours.estimate.p),
                    "p (Holm)": words.p_value(float(p_holm)),
                    "margin": f"±{margin:.3f}" if (margin := _margin(quantity)) else "",
                    "p (smaller than the margin)": words.p_value(_equivalence_p(ours.estimate, margin)),
                    "error through lesions": words.number(ours.estimate.lesion_variance**0.5),
                    "error through seeds": words.number(ours.estimate.seed_variance**0.5),
                    "seeds": words.seeds(ours.seeds),
                    "interval over": ours.over,
                }
            )
    return pd.DataFrame(rows, columns=DIFFERENCES)


def _margin(quantity: str) -> float | None:
    """Below which difference two networks are called equivalent: the published gain of ARL-CNN50 over ResNet-50."""
    return published_effect(("resnet50", "arl_cnn50"), quantity)


def _equivalence_p(found: Difference, margin: float | None) -> float:
    try:
        return float("nan") if margin is None else equivalence_p(found, abs(margin))
    except MetricError:  # a difference without a standard error
        return float("nan")


def missing(study: Study) -> str:
    """Which runs of the profile's matrix are not there yet, in a sentence."""
    planned = len(study.profile.experiments()) * len(study.profile.seeds)
    if not study.missing:
        return f"All {planned} planned runs are there."
    return f"{len(study.missing)} of {planned} planned runs are not there yet: {', '.join(study.missing)}."


#: What each kind of network can take of ImageNet's weights, where it can take any.
FROM_IMAGENET = {
    "resnet": "all but the head",
    "arl_cnn": "all but the head and α",
    "efficientnet_lite0": "all but the head",
    "arl_efficientnet_lite0": "all but the head and α",
}


def networks() -> pd.DataFrame:
    """Every network that can be trained here: its size, and what its weights can start from.

    Returns:
        A row a network, by depth: parameters, with one output; those over the plain network's, the ResNet of its depth
        or EfficientNet-Lite0; multiply-adds of a patch of 224 px, in millions; where its first weights can come from
        beside a random draw.
    """
    rows = []
    for network, size in sizes().iterrows():
        kind, depth = (network, "") if network in LITE else (str(network)[:-2], str(network)[-2:])
        plain = f"resnet{depth}" if depth else LITE[0]
        part = FROM_IMAGENET.get(kind, "all but the head and its gates")
        rows.append(
            {
                "network": words.network(str(network)),
                "parameters": f"{size['parameters']:,}",
                "more than the plain network": f"{size['parameters'] - parameters()[plain]:+,}",
                "multiply-adds, millions": f"{size['multiply_adds'] / 1e6:,.1f}",
                "from ImageNet": part if network in (*IMAGENET, *LITE) else "nothing",
            }
        )
    return pd.DataFrame(rows)


def costs(study: Study) -> pd.DataFrame:
    """What attention costs: parameters, and minutes of a run, a network a row."""
    rows = []
    for network in study.profile.networks:
        runs = study.of(network)
        minutes = [run.environment["seconds"] / 60 for run in runs]
        rows.append(
            {
                "network": words.network(network),
                "parameters": f"{parameters()[network]:,}" if network in parameters() else "",
                "runs": len(runs),
                "minutes a run, median": words.number(float(np.median(minutes)), 1) if runs else "",
                "shortest to longest": f"{min(minutes):.1f} to {max(minutes):.1f}" if runs else "",
                "device": ", ".join(dict.fromkeys(run.environment["device"] for run in runs)),
            }
        )
    return pd.DataFrame(rows)


def _attention(study: Study) -> Iterator[tuple[str, pd.DataFrame]]:
    """By network with ARL blocks, the rows of `attention.csv` of all its runs, with the seed."""
    for network in study.profile.networks:
        tables = [run.attention.assign(seed=run.seed) for run in study.of(network) if len(run.attention)]
        if tables:
            yield network, pd.concat(tables, ignore_index=True)


def term_sizes(study: Study) -> pd.DataFrame:
    """How large the attention term got beside what it is added to, on test lesions as whole images.

    Returns:
        A row a block: its α at the end of training, mean and range over the runs; then means over the runs: positions
        of its map, root mean squares of the shortcut x, of the residual F and of α M x, the last over the first, and
        the mask's highest weight over that of a flat mask.
    """
    rows = []
    for network, table in _attention(study):
        for block, of_block in table.groupby("block", sort=False):
            mean, alpha = of_block.mean(numeric_only=True), of_block["alpha"]
            rows.append(
                {
                    "network": words.network(network),
                    "block": words.block(block),
                    "α": words.number(alpha.mean(), 4),
                    "α, lowest to highest": f"{alpha.min():.4f} to {alpha.max():.4f}",
                    "positions": int(mean["positions"]),
                    "x": f"{mean['rms_shortcut']:.2g}",
                    "F(x)": f"{mean['rms_residual']:.2g}",
                    "α M x": f"{mean['rms_attention']:.1e}",
                    "α M x over x": f"{mean['ratio']:.1e}",
                    "peak of M over flat": f"{mean['mask_peak'] / mean.get('mask_mean', 1 / mean['positions']):.1f}",
                    "runs": len(of_block),
                }
            )
    return pd.DataFrame(rows)


def removal(study: Study) -> pd.DataFrame:
    """Does a trained network use its attention term? Test AUCs as it is, minus those with the term taken out.

    Returns:
        A row for the term taken out of all blocks and of each: the differences with their 95 % intervals and p of that
        of the mean AUC, and the largest change of any lesion's score.
    """
    rows = []
    for network in study.profile.networks:
        runs = [run for run in study.of(network) if "removal" in run.measures]
        for removed in dict.fromkeys(name for run in runs for name in run.measures["removal"]["removed"]):
            row = {
                "network": words.network(network),
                "taken out of": "all blocks" if removed == "all" else words.block(removed),
            }
            for quantity in AUCS:
                found = outcomes.known(outcomes.difference, study, [network], f"removal.{quantity}", removed)
                row[words.QUANTITIES[quantity]] = words.signed(found.estimate) if found else ""
                if quantity == "mean_auc":
                    row["p, mean AUC"] = words.p_value(found.estimate.p) if found else ""
            row["largest change of a score"] = f"{max(_largest_change(run, removed) for run in runs):.4f}"
            rows.append(row)
    return pd.DataFrame(rows)


def _largest_change(run: Run, removed: str) -> float:
    table = run.measures["removal"]
    without = table[table["removed"] == removed].set_index("image_id")
    classes = list(classes_of(run.experiment.task))
    return float((run.of("test")[classes] - without[classes]).abs().max().max())
