"""The main results as tables: networks beside the published ones, differences with intervals, verdicts.

A Study in, a DataFrame with words for headers out; no network, no image.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from arlrepro import registry
from arlrepro.book.tables.networks import costs
from arlrepro.book.tables.runs import runs_table
from arlrepro.errors import MetricError
from arlrepro.evaluation import formatting
from arlrepro.evaluation.comparisons import equivalence_p, holm
from arlrepro.evaluation.intervals import Difference
from arlrepro.paper.claims import DIFFERENCES as OF_A_DIFFERENCE
from arlrepro.paper.claims import LATER, Verdict, decide, read_claims
from arlrepro.paper.published import published, published_effect, published_value
from arlrepro.registry import AUCS, CLASSES, NETWORKS, OURS, PAIR, PAPER, ROWS
from arlrepro.runs import estimates
from arlrepro.runs.crossvalidation import difference, fold_auc, pairs
from arlrepro.runs.estimates import FEWEST_SEEDS, Outcome
from arlrepro.runs.study import Study, every_network, partners, present

#: The columns of the table of differences.
DIFFERENCES = [
    *("comparison", "metric", PAPER, OURS, "p", "p (Holm)", "margin", "p (equivalence)"),
    *("SE, lesions", "SE, seeds", "training noise", "seeds"),
]

ORIGINS = {
    "challenge": "entry of the challenge",
    "later": "later work",
    "paper": "the paper",
    "reimplementation": "re-implementation",
}


def networks_of_paper() -> list[str]:
    """Our names of the networks for which a number of the paper itself is known, in the order of the file."""
    known = published().dropna(subset="value")
    return list(dict.fromkeys(known.loc[known["origin"] == "paper", "network"]))


def resnet_vs_arl(study: Study) -> pd.DataFrame:
    """The main table: each network's test metrics, the paper's beside ours.

    Returns:
        Rows: network and task, the networks of the study, then those whose published metrics are known. Columns: AUC,
        ACC, SEN and SPE at 0.5, each the paper's and ours with its 95 % interval; ours averaged over the seeds, which
        the last columns name with what the interval covers. Empty: not known, or not run.
    """
    others = sorted(set(networks_of_paper()) - set(study.profile.networks), key=list(NETWORKS).index)
    rows = {}
    for network in (*study.profile.networks, *others):
        for task, quantities in ROWS.items():
            row: dict[tuple[str, str], str] = {}
            over = ("", "")
            for metric, quantity in quantities.items():
                row[registry.METRICS[metric], PAPER] = formatting.number(published_value(network, quantity))
                row[registry.METRICS[metric], OURS] = ""
                if ours := estimates.known(estimates.metric, study, network, quantity):
                    row[registry.METRICS[metric], OURS] = ours.estimate.text()
                    over = (formatting.seeds(ours.seeds), ours.over)
            row["our runs", "seeds"], row["our runs", "interval over"] = over
            rows[registry.network(network), registry.TASK_WORDS[task]] = row
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    table.index.names = ["network", "task"]
    return table


def own_aucs(study: Study) -> pd.DataFrame:
    """The AUCs of the study's own networks, as the README shows them.

    Returns:
        Columns: network, task, the AUC (the paper's where any is known, and ours), the seeds, what the interval covers.
    """
    own = resnet_vs_arl(study).loc[list(map(registry.network, study.profile.networks))]
    table = own["AUC"].add_prefix("AUC ").join(own["our runs"])
    return table.loc[:, (table != "").any()].reset_index()


def verdicts(decided: Sequence[Verdict], profile: str = "") -> pd.DataFrame:
    """Each claim with its verdict, what was expected, what was found and what that rests on.

    Args:
        decided: verdicts.
        profile: the claims registered with the later rules for this profile alone; if empty, all.
    """
    rows = []
    for one in decided:
        if profile and (one.claim.profile != profile or one.claim.rule not in LATER):
            continue
        is_difference = one.claim.rule in OF_A_DIFFERENCE
        as_text = "{:+.3f}" if is_difference else "{:.0f}" if one.claim.rule == "exact" else "{:.3f}"
        rows.append(
            {
                "claim": one.claim.claim + (" (exploratory)" if one.claim.exploratory else ""),
                "verdict": one.shown,
                "expected": "" if one.effect is None else as_text.format(one.effect),
                OURS: one.found,
                "p (Holm)": formatting.p_value(one.p_adjusted) if len(one.seeds) >= FEWEST_SEEDS else "",
                "runs": len(one.runs) or "",
                "why": one.reason,
            }
        )
    columns = ["claim", "verdict", "expected", OURS, "p (Holm)", "runs", "why"]
    return pd.DataFrame(rows, columns=columns).set_index("claim")


def own_verdicts(study: Study) -> pd.DataFrame:
    """The claims that a study's profile decides, by whichever rules, as `verdicts` shows them."""
    decided = decide(read_claims(), {study.profile.name: study})
    return verdicts([one for one in decided if one.claim.profile == study.profile.name])


def earlier_verdicts(decided: Sequence[Verdict]) -> pd.DataFrame:
    """The claims registered first, by the rules of then: for the appendix."""
    table = verdicts([one for one in decided if one.claim.rule not in LATER])
    return table[["verdict", "expected", OURS]]


def spread_over_seeds(study: Study) -> pd.DataFrame:
    """How much the seeds of one network differ: the noise of training, beside which a difference is seen.

    Returns:
        A row a network and AUC: mean, standard deviation, lowest and highest over its seeds.
    """
    rows = []
    for network in present(study):
        for quantity in AUCS:
            name = quantity.partition(".")[0]
            found = [run.metrics["test"] for run in study.of(network)]
            areas = [one.get("mean_auc") if name == "mean_auc" else one.get(name, {}).get("auc") for one in found]
            if len(known := [one for one in areas if one is not None]) > 1:
                rows.append(
                    {
                        "network": registry.network(network),
                        "AUC": registry.QUANTITIES[quantity],
                        "mean": formatting.number(float(np.mean(known))),
                        "SD over seeds": formatting.number(float(np.std(known, ddof=1))),
                        "lowest": formatting.number(min(known)),
                        "highest": formatting.number(max(known)),
                        "seeds": len(known),
                    }
                )
    columns = ["network", "AUC", "mean", "SD over seeds", "lowest", "highest", "seeds"]
    return pd.DataFrame(rows, columns=columns).set_index(["network", "AUC"])


def differences(study: Study) -> pd.DataFrame:
    """Is the other network better than the ResNet of its depth? Differences of test AUCs on the same lesions.

    Returns:
        A row a pair and AUC: the paper's difference of that depth, ours with its interval, p and p after Holm over the
        three AUCs of the pair; the margin of equivalence, which is the paper's difference at 50 layers, and p of the
        claim that ours is smaller than that to both sides (exploratory: the margin was set after a first look); and
        the standard errors through lesions and through seeds; and which proportion of the variance of one seed's
        difference is training noise, see `comparisons.training_noise`. Pairs without runs are left out.
    """
    rows = []
    for base, other in partners(study):
        known = {one: estimates.known(estimates.difference, study, (base, other), one) for one in AUCS}
        found = {quantity: ours for quantity, ours in known.items() if ours}
        # Reason: a member of the family that has no runs counts as p = 1, so that the family keeps its size.
        adjusted = holm(np.array([found[one].estimate.p if one in found else 1.0 for one in AUCS]))
        for (quantity, ours), p_holm in zip(known.items(), adjusted, strict=True):
            if ours is None:
                continue
            gain = published_effect((base, other), quantity)
            rows.append(
                {
                    "comparison": f"{registry.network(other)} minus {registry.network(base)}",
                    "metric": registry.QUANTITIES[quantity],
                    PAPER: "" if gain is None else f"{gain:+.3f}",
                    OURS: estimates.in_words(ours),
                    **_tests(ours, float(p_holm), _margin(quantity)),
                    "seeds": formatting.seeds(ours.seeds),
                }
            )
    return pd.DataFrame(rows, columns=DIFFERENCES).set_index(["comparison", "metric"])


def _tests(ours: Outcome[Difference], p_holm: float, margin: float | None) -> dict[str, str]:
    """p values and the two errors of a difference, where there are seeds enough for them."""
    found = ours.estimate
    if len(ours.seeds) < FEWEST_SEEDS:
        return dict.fromkeys(DIFFERENCES[4:-1], "")
    return {
        "p": formatting.p_value(found.p),
        "p (Holm)": formatting.p_value(p_holm),
        "margin": f"±{margin:.3f}" if margin else "",
        "p (equivalence)": formatting.p_value(_equivalence_p(found, margin)),
        "SE, lesions": formatting.number(found.lesion_variance**0.5),
        "SE, seeds": formatting.number(found.seed_variance**0.5),
        "training noise": "" if np.isnan(found.training_noise) else f"{max(found.training_noise, 0.0):.0%}",
    }


def _margin(quantity: str) -> float | None:
    """Below which difference two networks are called equivalent: the published gain of ARL-CNN50 over ResNet-50."""
    return published_effect(PAIR, quantity)


def _equivalence_p(found: Difference, margin: float | None) -> float:
    try:
        return float("nan") if margin is None else equivalence_p(found, abs(margin))
    except MetricError:  # a difference without a standard error
        return float("nan")


def networks(study: Study) -> pd.DataFrame:
    """ResNet, ARL-CNN and the other attention networks at both depths: the paper's AUCs, ours, parameters, time.

    Returns:
        A row a network that was run by the study's protocol or has a published AUC; AUCs of ours averaged over seeds
        with their 95 % intervals; what their weights started from. Empty: not known, or not run.
    """
    every = every_network(study)
    rows = {}
    for network, entry in NETWORKS.items():
        row: dict[tuple[str, str], str] = {}
        over = ""
        for quantity in AUCS:
            ours = estimates.known(estimates.metric, every, network, quantity)
            row[registry.QUANTITIES[quantity], PAPER] = formatting.number(published_value(network, quantity))
            row[registry.QUANTITIES[quantity], OURS] = ours.estimate.text() if ours else ""
            over = ours.over if ours else over
        runs = every.of(network)
        if not runs and not any(row.values()):
            continue
        minutes = [run.environment["seconds"] / 60 for run in runs]
        row["", "parameters"] = f"{entry.parameters:,}"
        row["our runs", "seeds"] = formatting.seeds(tuple(run.seed for run in runs)) if runs else "not run"
        row["our runs", "interval over"] = over
        row["our runs", "started from"] = registry.start(runs[0].experiment.network.weights) if runs else ""
        row["our runs", "minutes, median"] = formatting.number(float(np.median(minutes)), 1) if minutes else ""
        rows[registry.network(network)] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "network"
    return table


def entries(study: Study) -> pd.DataFrame:
    """Published AUCs on the same test set, and ours: the challenge's entries, later work, the paper, its repetitions.

    Returns:
        A row for each report with an AUC that a source gives, then a row a network of the study; the source of each, or
        the seeds. Other networks, other training images and other sizes of image: not a comparison like with like.
    """
    numbers = published()
    areas = numbers[(numbers["metric"] == "auc") & numbers["value"].notna() & numbers["origin"].isin(list(ORIGINS))]
    tasks = ("mean", *CLASSES)
    rows = []
    for (report, origin), figures in areas.groupby(["row", "origin"], sort=False):
        shown = {one.task: formatting.number(one.value, one.decimals) for one in figures.itertuples()}
        sources = ", ".join(dict.fromkeys(figures["source"]))
        rows.append((ORIGINS[origin], report, *(shown.get(task, "") for task in tasks), sources))
    rows.sort(key=lambda row: list(ORIGINS.values()).index(row[0]))
    for network in study.profile.networks:
        found = [estimates.known(estimates.metric, study, network, quantity) for quantity in AUCS]
        shown_ours = [one.estimate.text() if one else "" for one in found]
        seeds = next((formatting.seeds(one.seeds) for one in found if one), "not run")
        rows.append((f"ours, {study.profile.name}", registry.network(network), *shown_ours, seeds))
    columns = ["kind", "who", "mean AUC", *(f"AUC, {registry.TASK_WORDS[one]}" for one in CLASSES), "known from"]
    return pd.DataFrame(rows, columns=columns)


def main_tables(study: Study) -> list[pd.DataFrame]:
    """What a terminal shows of a study, the most wanted first: metrics, differences and runs; differences of folds."""
    if study.profile.experiment.data.folds:
        return [cross_validated_differences(study), by_fold(study)]
    return [resnet_vs_arl(study), differences(study), runs_table(study)]


#: The tables of a study that a paper would print, by the name of their files.
PRINTED: dict[str, Callable[[Study], pd.DataFrame]] = {
    "verdicts": own_verdicts,
    "resnet-against-arl": resnet_vs_arl,
    "differences": differences,
    "networks": networks,
    "entries": entries,
    "costs": costs,
    "runs": runs_table,
}


def by_fold(study: Study) -> pd.DataFrame:
    """Both networks' test AUCs in each planned fold and their difference; a row without a number is not there yet.

    Returns:
        Rows: networks, repetition and fold. Columns: the lesions tested; by AUC each network's and the difference.
    """
    rows = {}
    for networks, seed, fold, *runs in pairs(study):
        tested = [len(run.of("test")) for run in runs if run is not None]
        row: dict[tuple[str, str], str] = {("", "lesions"): str(tested[0]) if tested else ""}
        for quantity in AUCS:
            figure = registry.QUANTITIES[quantity]
            first, second = (None if run is None else fold_auc(run, quantity) for run in runs)
            for network, area in zip(networks, (first, second), strict=True):
                row[figure, registry.network(network)] = formatting.number(area)
            row[figure, "difference"] = "" if first is None or second is None else f"{second - first:+z.3f}"
        rows[registry.network(networks[1]), seed, fold] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(index=["against ResNet", "repetition", "fold"]) if rows else table


def cross_validated_differences(study: Study) -> pd.DataFrame:
    """Is the other network better than the ResNet of its depth, over all folds that are there?

    Returns:
        A row a pair and AUC: the paper's difference of that depth, ours with its interval, p and p after Holm over the
        three AUCs of the pair, and the folds it is over; empty cells where fewer than two folds have both networks.
    """
    rows = []
    planned = study.profile.experiment.data.folds * len(study.profile.seeds)
    for networks in partners(study):
        there = sum(pair == networks and None not in runs for pair, _, _, *runs in pairs(study))
        found = [difference(study, networks, one)[0] for one in AUCS] if there > 1 else []
        adjusted = holm(np.array([one.p for one in found])) if found else np.array([])
        for place, quantity in enumerate(AUCS):
            gain = published_effect(networks, quantity)
            rows.append(
                {
                    "comparison": f"{registry.network(networks[1])} minus {registry.network(networks[0])}",
                    "metric": registry.QUANTITIES[quantity],
                    PAPER: "" if gain is None else f"{gain:+.3f}",
                    OURS: found[place].signed() if found else "",
                    "p": formatting.p_value(found[place].p) if found else "",
                    "p (Holm)": formatting.p_value(float(adjusted[place])) if found else "",
                    "folds": f"{there} of {planned}",
                }
            )
    return pd.DataFrame(rows)
