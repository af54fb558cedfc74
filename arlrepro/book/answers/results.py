"""What the runs say: the pair's difference and its noise, variants of the block, scores as probabilities."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from arlrepro import registry
from arlrepro.book.answers.finding import Finding, difference, level, nothing
from arlrepro.book.export import NOTHING
from arlrepro.book.tables import baselines, calibration
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.runs import estimates, external
from arlrepro.runs.estimates import FEWEST_SEEDS, Outcome, in_words, known
from arlrepro.runs.study import Study, every_network, partners, present, read_companions

if TYPE_CHECKING:
    from IPython.display import Markdown


def results(study: Study) -> Finding:
    """Is ARL better? The pair's metrics and difference, beside what colours alone give."""
    found = {network: known(estimates.metric, study, network, "mean_auc") for network in study.profile.networks}
    levels = {network: one for network, one in found.items() if one}
    if not levels:
        return nothing(study)
    apart = len({one.seeds for one in levels.values()}) > 1  # then their difference is not that of the two metrics
    said = [
        f"{registry.network(network)} has a mean AUC of {level(one)}{f' ({formatting.seeds(one.seeds)})' * apart}"
        for network, one in levels.items()
    ]
    gain = difference(study)
    said.append(
        f"the difference is {in_words(gain)} ({formatting.seeds(gain.seeds)})"
        if gain
        else "the difference is not tested: no seed is completed for both networks"
    )
    limit = noise(gain) if gain else "A difference needs both networks of a seed."
    return Finding(f"{'; '.join(said)}.", f"{_beside_colour(levels, baselines.colour_mean_auc(study))} {limit}")


def _beside_colour(levels: Mapping[str, Outcome[Estimate]], colour: float | None) -> str:
    """What a regression on colours says of the networks' mean AUCs."""
    if colour is None:
        return "No baseline without a network is archived for these images."
    above = [one.estimate.low > colour for one in levels.values()]
    return f"a logistic regression on colour statistics has a mean AUC of {colour:.3f}, " + (
        "less than the networks by more than their intervals: they have learned more than colour."
        if all(above)
        else "which lies inside the networks' intervals: at this size and budget neither has been shown to learn more "
        "than colour, and a difference between them says little about networks that do."
        if not any(above)
        else "which one of the networks exceeds by more than its interval."
    )


def noise(gain: Outcome[Difference]) -> str:
    """What limits a difference, the lesions or the seeds, and how much of one seed's variance is training noise."""
    if len(gain.seeds) < FEWEST_SEEDS:
        return (
            f"The difference rests on {formatting.seeds(gain.seeds)} alone: from {FEWEST_SEEDS} seeds on it has an "
            "interval, and training noise is told apart."
        )
    found = gain.estimate
    if not found.lesion_variance + found.seed_variance > 0:
        return ""
    if found.lesion_variance >= found.seed_variance:
        limit = "The lesions, not the seeds, limit this comparison"
    elif found.training_noise > 0.5:
        limit = "Training noise, not the number of lesions, limits this comparison"
    else:  # what lessens with more seeds is how each seed's networks order these lesions
        limit = (
            "More seeds or more lesions would narrow this interval, because every seed's networks err on lesions of "
            "their own"
        )
    if not found.training_noise > 0:
        return f"{limit}: the seeds differ by no more than the choice of lesions explains."
    return (
        f"{limit}: {found.training_noise:.0%} of the variance of one seed's difference is training noise, the rest "
        "comes from which lesions the test set holds."
    )


def elsewhere(study: Study) -> "Markdown":
    """Does it hold on another data set? The archived external tests, beside the study's own test lesions."""
    from IPython.display import Markdown

    said = []
    for name, test in external.read(study.profile.name).items():
        for task, figures in test["classes"].items():
            ill = f"{figures['positives']:,} of them {registry.TASK_WORDS[task]}"
            aucs = []
            for network, one in figures["networks"].items():
                few = len(one["seeds"]) < FEWEST_SEEDS
                auc = f"{one['auc']:.3f}" if few else Estimate(one["auc"], *one["auc_ci"]).text()
                same = replace(study, runs=tuple(run for run in study.runs if run.seed in one["seeds"]))
                own = known(estimates.metric, same, network, f"{task}.auc")
                here = f"; {own.estimate.value:.3f} on the test lesions above" if own else ""
                aucs.append(f"{auc} for {registry.network(network)} ({formatting.seeds(tuple(one['seeds']))}{here})")
            said.append(f"On {test['lesions']:,} lesions of {name}, {ill}, the AUC is {' and '.join(aucs)}")
            for gain in figures["differences"].values():
                if len(gain["seeds"]) >= FEWEST_SEEDS:
                    shown, seeds = Estimate(gain["value"], *gain["ci"]), formatting.seeds(tuple(gain["seeds"]))
                    said[-1] += f"; the difference is {shown.signed()} ({seeds})"
            if colour := figures.get("colour"):
                said[-1] += f". Colours alone have {Estimate(colour['auc'], *colour['auc_ci']).text()}"
    return Markdown("\n\n".join(f"{one}." for one in said) or f"{NOTHING} on another data set.")


def ablation(study: Study) -> Finding:
    """Does a part of the block matter?"""
    gain = difference(study)
    parts = read_companions(study, "ablation")
    completed = sum(len(part.runs) for part in parts.values())
    planned = completed + sum(len(part.missing) for part in parts.values())
    if gain is None:
        return nothing(study)
    what = f"{completed} of {planned} planned runs of variants are completed" if parts else "no variant is planned here"
    said = [f"The block as a whole changes the mean AUC by {in_words(gain)} ({formatting.seeds(gain.seeds)}); {what}"]
    arl = partners(study)[0][1]
    found = {name: known(estimates.variant_difference, study, part, arl, "mean_auc") for name, part in parts.items()}
    if worth := _decided(found):
        said.append(f"{registry.network(arl)} as it is, minus one with {worth}")
    every = every_network(study)
    others = {pair: known(estimates.difference, every, pair, "mean_auc") for pair in partners(every)[1:]}
    of_others = {" minus ".join(map(registry.network, pair[::-1])): one for pair, one in others.items()}
    said += [worth] if (worth := _decided(of_others)) else []
    return Finding(
        f"{'. '.join(said)}.",
        "a part can only matter as much as the whole does; a variant of one or two seeds is shown beside the spread of "
        "the seeds, and is not decided.",
    )


def _decided(differences: Mapping[str, Outcome[Difference] | None]) -> str:
    """The differences that have seeds enough for an interval, in words."""
    enough = {name: one for name, one in differences.items() if one and len(one.seeds) >= FEWEST_SEEDS}
    return ", ".join(f"{name}: {one.estimate.signed()} ({formatting.seeds(one.seeds)})" for name, one in enough.items())


def scores(study: Study) -> Finding:
    """Are the scores probabilities?"""
    table = calibration.calibration(study)
    if table.empty:
        return nothing(study)
    melanoma = table[table["task"] == registry.TASK_WORDS["melanoma"]]
    before = "; ".join(f"{row['network']} {row['ECE']}" for _, row in melanoma.iterrows())
    after = "; ".join(f"{row['network']} {row['ECE, temperature-scaled']}" for _, row in melanoma.iterrows())
    return Finding(
        f"For melanoma the expected calibration error (mean and range over seeds) is {before}.",
        f"after one temperature, fitted on validation, it is {after}; whoever uses a score as a probability has to "
        "calibrate it on data of his own.",
    )


def at_half(study: Study) -> Finding:
    """What one threshold chooses."""
    said = []
    for network in present(study):
        one, two = (
            known(estimates.metric, study, network, f"melanoma.{name}") for name in ("sensitivity", "specificity")
        )
        if one and two:
            said.append(
                f"{registry.network(network)} finds {one.estimate.value:.0%} of the melanomas at a specificity of "
                f"{two.estimate.value:.0%}"
            )
    if not said:
        return nothing(study)
    return Finding(
        f"At the threshold of one half, {'; '.join(said)} (mean over seeds).",
        "accuracy, sensitivity and specificity at one half depend on where the scores of a network lie; networks are "
        "compared by the whole curve, or at a threshold that was chosen on other lesions.",
    )
