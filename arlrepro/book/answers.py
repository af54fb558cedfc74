"""What each page found, in its first sentence, and what follows from it, in its last: computed from the runs.

A sentence holds what the runs there can bear: without completed runs it says so, and with too few seeds it gives no
interval.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from IPython.display import Markdown

from arlrepro import registry
from arlrepro.book.tables import attention, baselines, calibration, networks, protocol
from arlrepro.data.synthetic.signs import SIGNS
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.evaluation.power import detectable_difference
from arlrepro.paper import consistency
from arlrepro.paper.claims import LATER, VERDICTS, Verdict
from arlrepro.paper.departures import LEADING
from arlrepro.paper.departures import departures as listed
from arlrepro.paper.published import LESIONS, POSITIVES, published_effect, published_gain
from arlrepro.registry import NETWORKS, PAIR
from arlrepro.runs import estimates
from arlrepro.runs.estimates import FEWEST_SEEDS, Outcome, in_words, known
from arlrepro.runs.study import Study, partners, present, read_companions, runs_by_seed

#: Of which correlation of two AUC estimates the test set's limits are told.
CORRELATION = 0.7


@dataclass(frozen=True)
class Finding:
    """What a page found, and what follows from it; a cell that returns it shows the first."""

    found: str
    then: str

    def _repr_markdown_(self) -> str:
        return f"**{self.found}**"

    @property
    def follows(self) -> Markdown:
        """The page's last sentence."""
        return Markdown(self.then[0].upper() + self.then[1:])


# The front page


def abstract(verdicts: Sequence[Verdict], study: Study) -> Markdown:
    """The whole in five sentences: the question, the paper, what was done, what came out, what it means.

    Args:
        verdicts: of all claims.
        study: the runs that the page leads with.
    """
    gain = published_gain("mean_auc")
    assert gain is not None
    verdict = primary(verdicts, study)
    sentences = (
        "Does attention residual learning help a network to classify skin lesions?",
        f"Zhang et al. report a mean AUC of {gain.after:.3f} for ARL-CNN50 and {gain.before:.3f} for ResNet-50 "
        f"({gain.value:+.3f}) on the {LESIONS['test']} test images of ISIC-2017, and published no code.",
        done(study),
        came_out(verdict, study),
        means(verdict, study),
    )
    return Markdown(f'<div class="abstract">\n\n{" ".join(sentences)}\n\n</div>')


def primary(verdicts: Sequence[Verdict], study: Study) -> Verdict | None:
    """The verdict on the claim that was named primary for a study's profile before its first run."""
    own = (one for one in verdicts if one.claim.primary and one.claim.profile == study.profile.name)
    return next(own, None)


def done(study: Study) -> str:
    """What was trained, on what, how often."""
    experiment, seeds = study.profile.experiment, len(study.profile.seeds)
    synthetic = experiment.data.source == "synthetic"
    images = "synthetic images, no real ones" if synthetic else f"its images at {experiment.data.side} px"
    start = experiment.network.weights
    how = "from random initialisation" if start == "none" else f"from {registry.start(start).partition(',')[0]} weights"
    return (
        f"Here {_names(study.profile.networks)} are trained {how} on {images} by one protocol, with {seeds} planned "
        f"seed{'s' * (seeds > 1)} each, and compared by rules that were fixed before the first test score."
    )


def _names(some: Sequence[str]) -> str:
    return " and ".join(map(registry.network, some))


def both(study: Study) -> int:
    """In how many seeds every network of a study's profile has a run."""
    seeds = [set(runs_by_seed(study, network)) for network in study.profile.networks]
    return len(set.intersection(*seeds)) if seeds else 0


def came_out(verdict: Verdict | None, study: Study) -> str:
    """The difference of the study's pair, with its interval, and the verdict where the study decides one."""
    gain, planned = difference(study), len(study.profile.seeds)
    if gain is None:
        return f"**Not tested**: {both(study)} of {planned} seeds are completed for both networks."
    base, other = partners(study)[0]
    said = f"{registry.network(other)} minus {registry.network(base)} is {in_words(gain)} in mean AUC"
    said += " [95 % CI]" if len(gain.seeds) >= FEWEST_SEEDS else ""
    if verdict is None:
        return f"On {formatting.seeds(gain.seeds)}, {said}; no claim is decided by such runs."
    if len(gain.seeds) < planned:
        return (
            f"**{verdict.verdict.capitalize()}** ({len(gain.seeds)} of {planned} seeds): so far {said}, "
            "and no verdict is given before all seeds are completed."
        )
    return f"**{verdict.verdict.capitalize()}**: {said} over {formatting.seeds(gain.seeds)}."


def means(verdict: Verdict | None, study: Study) -> str:
    """What the verdict means for the paper's claim."""
    gain = published_effect(PAIR, "mean_auc")
    if verdict is None:
        return "The path runs from end to end; nothing is said about patients or about the paper."
    return {
        "supported": "So at this size of image and budget the block does raise the AUC of a good network.",
        "not supported": f"So a gain of the published size ({gain:+.3f}) is not there in networks of this size.",
        "inconclusive": f"So neither a gain of the published size ({gain:+.3f}) nor its absence is shown.",
        "measure failed": "So the measure cannot say.",
    }.get(verdict.verdict, "So the paper's claim is neither confirmed nor contradicted here yet.")


def difference(study: Study, quantity: str = "mean_auc") -> Outcome[Difference] | None:
    """ARL minus the ResNet of its depth, of a study's first pair; None without runs."""
    pairs = partners(study)
    return known(estimates.difference, study, pairs[0], quantity) if pairs else None


def limits(study: Study) -> Markdown:
    """What the test set can show at all, what the planned seeds can, and what is not known of the paper."""
    gain = published_gain("melanoma.auc")
    assert gain is not None
    positives = POSITIVES["test"]["melanoma"]
    smallest = detectable_difference(gain.before, positives, LESIONS["test"] - positives, CORRELATION)
    text = (
        f"**What the test set can show.** With {positives} melanomas among {LESIONS['test']} lesions, a difference of "
        f"two AUCs is found with a power of 80 % if it is {smallest:.3f} or more and the estimates correlate at "
        f"{CORRELATION}; the published gain is {gain.value:.3f}."
    )
    if len(study.profile.seeds) >= FEWEST_SEEDS:
        deviation, correlation = protocol.SEED_DEVIATIONS[1], protocol.CORRELATIONS[-1]
        width, power = protocol.planned(study.profile, deviation, correlation)
        text += (
            f" Averaged over {len(study.profile.seeds)} seeds, which differ by {deviation} (SD), and at a correlation "
            f"of {correlation}, the interval of the mean AUC's difference is ±{width:.3f} wide, and the power for the "
            f"published gain {power:.2f}."
        )
    unknown = (
        "**What is not known.** The full text of the paper was not available: its metrics come from its abstract and "
        "from third parties, [each with its source](04_published.ipynb)."
    )
    return Markdown(f"{text}\n\n{unknown}")


def counted(verdicts: Sequence[Verdict], study: Study) -> Markdown:
    """How many of the registered claims of a study's profile have which verdict; what is so by construction, apart."""
    own = [one for one in verdicts if one.claim.profile == study.profile.name and one.claim.rule in LATER]
    exact = [one for one in verdicts if one.claim.rule == "exact"]
    number = Counter(one.verdict for one in own)
    said = ", ".join(f"{number[one]} {one}" for one in VERDICTS if number[one]) or "none registered"
    apart = " ".join(f"By construction: {one.reason}" for one in exact)
    return Markdown(
        f"Of {len(own)} registered claims: {said}. {apart}" if own else f"No claim is decided here. {apart}"
    )


def follows(verdicts: Sequence[Verdict], study: Study) -> Markdown:
    """The front page's last sentence: what a reader may take from it."""
    lacking = f"{len(study.missing)} planned runs are still to come. " if study.missing else ""
    verdict = primary(verdicts, study)
    state = f"the primary claim is {verdict.verdict}" if verdict else "no claim is decided here"
    return Markdown(
        f"{state[0].upper()}{state[1:]}. {lacking}Every number above is computed from the archived scores each "
        "time that this page is made; `make book` makes it again."
    )


# Results


def results(study: Study) -> Finding:
    """Is ARL better? The pair's metrics and difference, beside what colours alone give."""
    found = {network: known(estimates.figure, study, network, "mean_auc") for network in study.profile.networks}
    levels = {network: one for network, one in found.items() if one}
    if not levels:
        return _nothing(study)
    said = [f"{registry.network(network)} has a mean AUC of {_level(one)}" for network, one in levels.items()]
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
    """Which part of a difference's variance is training noise, where several seeds tell it."""
    if len(gain.seeds) < FEWEST_SEEDS:
        return f"With {len(gain.seeds)} of the seeds completed, training noise cannot be told from a difference."
    lesions, seeds = gain.estimate.lesion_variance, gain.estimate.seed_variance
    total = lesions + seeds
    if not total > 0:
        return ""
    part = seeds / total
    limit = "Training noise, not the number of lesions, limits" if part > 0.5 else "The lesions, not the seeds, limit"
    return f"{limit} this comparison: the seeds are {part:.0%} of the variance of the difference."


def _level(one: Outcome[Estimate]) -> str:
    few = len(one.seeds) < FEWEST_SEEDS
    return f"{one.estimate.value:.3f}" if few else formatting.with_interval(one.estimate)


def _nothing(study: Study) -> Finding:
    lacking = "no pair of runs is completed" if study.runs else f"no run of {study.profile.name} is completed"
    return Finding(
        f"Not tested: {lacking} ({len(study.runs)} of {len(study.runs) + len(study.missing)} planned runs).",
        "nothing yet; [what is planned](05_protocol.ipynb) was fixed before the first run.",
    )


def second_study(study: Study) -> Markdown:
    """The second study's finding, for the front page."""
    one = results(study)
    return Markdown(f"{one.found} {one.follows.data}")


# Attention


def attention_maps(study: Study) -> Finding:
    """Is the term used, and do the maps lie on the lesion, more than an untrained network's?"""
    arl = [network for network in present(study) if NETWORKS[network].attention == "arl"]
    if not arl:
        return _nothing(study)
    network = arl[0]
    name = registry.network(network)
    sizes = attention.largest_term(study, network)
    lost = known(estimates.difference, study, [network], "removal.mean_auc")
    found = (
        f"The attention term of {name} reaches {sizes[1]:.1e} of the shortcut ({sizes[0]}); setting every α to 0 at "
        f"test changes the mean AUC by {in_words(_negative(lost))}."
        if sizes and lost
        else f"The size of {name}'s attention term is not measured yet."
    )
    energy = known(estimates.difference, study, [network], "sanity.energy") or known(
        estimates.difference, study, [network], "sanity.share"
    )
    pair = next(iter(partners(study)), ("", network))
    against = known(estimates.difference, study, pair, "focus.energy") or known(
        estimates.difference, study, pair, "focus.share"
    )
    if energy is None or len(energy.seeds) < FEWEST_SEEDS:
        then = (
            "whether the maps show anything that was learned needs the check against an untrained network over seeds."
        )
    elif energy.estimate.low > 0:
        lies = f"; minus that of {registry.network(pair[0])} it is {in_words(against)}" if against else ""
        then = f"the check holds: energy in mask, trained minus untrained, is {in_words(energy)}{lies}."
    else:
        then = (
            f"the check fails: energy in mask, trained minus untrained, is {in_words(energy)}, so the maps lie no "
            "better than those of an untrained network and nothing follows from where they lie (*measure failed*)."
        )
    return Finding(found, then)


def _negative(one: Outcome[Difference]) -> Outcome[Difference]:
    """A loss as a change."""
    loss = one.estimate
    return replace(one, estimate=replace(loss, value=-loss.value, low=-loss.high, high=-loss.low))


def ablation(study: Study) -> Finding:
    """Does a part of the block matter?"""
    gain = difference(study)
    parts = read_companions(study, "ablation")
    completed = sum(len(part.runs) for part in parts.values())
    planned = completed + sum(len(part.missing) for part in parts.values())
    if gain is None:
        return _nothing(study)
    what = f"{completed} of {planned} planned runs of variants are completed" if parts else "no variant is planned here"
    return Finding(
        f"The block as a whole changes the mean AUC by {in_words(gain)} ({formatting.seeds(gain.seeds)}); {what}.",
        "a part can only matter as much as the whole does; a variant of one or two seeds is shown beside the spread of "
        "the seeds, and is not decided.",
    )


# Scores


def scores(study: Study) -> Finding:
    """Are the scores probabilities?"""
    table = calibration.calibration(study)
    if table.empty:
        return _nothing(study)
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
            known(estimates.figure, study, network, f"melanoma.{name}") for name in ("sensitivity", "specificity")
        )
        if one and two:
            said.append(
                f"{registry.network(network)} finds {one.estimate.value:.0%} of the melanomas at a specificity of "
                f"{two.estimate.value:.0%}"
            )
    if not said:
        return _nothing(study)
    return Finding(
        f"At the threshold of one half, {'; '.join(said)} (mean over seeds).",
        "accuracy, sensitivity and specificity at one half depend on where the scores of a network lie; networks are "
        "compared by the whole curve, or at a threshold that was chosen on other lesions.",
    )


# What was known and chosen before


def data(study: Study) -> Finding:
    """How many images, of which kinds, and whether the splits share any."""
    counts = baselines.composition(study)
    twins = baselines.look_alikes(study)
    tested = twins[(twins["split"] == "test") | (twins["other split"] == "test")]
    said = ", ".join(f"{int(row['images']):,} {split}" for split, row in counts.iterrows())
    positives = counts.loc["test", "melanoma"]
    return Finding(
        f"{said} images; {positives} of the test images are melanomas, and {len(tested)} pairs of near-duplicates join "
        "the test split to another.",
        "metrics that depend on how common a class is are read with this table; the main comparison is given with and "
        "without the near-duplicates.",
    )


def departures(study: Study) -> Finding:
    """In how much the protocol is not the paper's, and what the planned seeds can show."""
    found = listed(study.profile)
    first = ", ".join(one.setting for one in found[:LEADING])
    then = "the two networks that are compared share every one of them, but the size of a gain may depend on each."
    if len(study.profile.seeds) >= FEWEST_SEEDS:
        narrow = protocol.planned(study.profile, protocol.SEED_DEVIATIONS[1], protocol.CORRELATIONS[-1])
        then += (
            f" With {len(study.profile.seeds)} seeds the design finds the published gain with a power of "
            f"{narrow[1]:.2f} where seeds differ by {protocol.SEED_DEVIATIONS[1]}; more noise lowers it."
        )
    return Finding(
        f"The protocol departs from the paper's in {len(found)} settings; those with the largest likely effect are "
        f"{first}.",
        then,
    )


def published() -> Finding:
    """Can the published rows be true, and could the test set show their difference?"""
    checked = consistency.checked_rows()
    impossible = [one for one in checked if not one.matrices]
    gain = published_gain("melanoma.auc")
    assert gain is not None
    positives = POSITIVES["test"]["melanoma"]
    smallest = [
        detectable_difference(gain.before, positives, LESIONS["test"] - positives, one) for one in (CORRELATION, 0.9)
    ]
    return Finding(
        f"Of {len(checked)} published rows {len(impossible)} cannot be true as it stands; the published gain for "
        f"melanoma, {gain.value:.3f}, is less than the test set can show with one network of each "
        f"({smallest[0]:.3f} at a correlation of {CORRELATION}, {smallest[1]:.3f} at 0.9).",
        "a single trained network of each kind could not have told this gain from chance; several seeds average out "
        "the training noise, and leave the error through the lesions.",
    )


def signs() -> Finding:
    """How many signs the synthetic lesions have."""
    return Finding(
        f"The synthetic lesions have {len(SIGNS)} dermoscopic signs, each known to the pixel, and none of them belongs "
        "to one class alone.",
        "a network that classifies synthetic images well has to find these structures, and whether its maps lie on "
        "them can be measured.",
    )


def cost() -> Finding:
    """What the attention costs in parameters and time."""
    extra = NETWORKS["arl_cnn50"].parameters - NETWORKS["resnet50"].parameters
    ratio = networks.step_ratio("arl_cnn50", "fp32")
    return Finding(
        f"The attention of ARL-CNN50 adds {extra} to {NETWORKS['resnet50'].parameters:,} parameters, and a training "
        f"step takes {ratio:.2f} times as long as ResNet-50's (float32, one machine).",
        "the price of ARL is time, not size; the ratio carries over to another machine, the seconds do not.",
    )


def all_runs(study: Study) -> Finding:
    """How much of the matrix is there."""
    planned = len(study.runs) + len(study.missing)
    minutes = [run.environment["seconds"] / 60 for run in study.runs]
    took = f", each in {np.median(minutes):.0f} minutes (median)" if minutes else ""
    return Finding(
        f"{len(study.runs)} of {planned} planned runs of {study.profile.name} are completed{took}.",
        "a number of this book can be computed again from the archived scores of these runs, without any training.",
    )


def lesions_seen(study: Study) -> Finding:
    """What the explorer shows."""
    having = [network for network in present(study) if any("maps" in run.measures for run in study.of(network))]
    if not having:
        return _nothing(study)
    return Finding(
        f"Maps of {_names(having)} over the same synthetic lesions, one seed of each; what holds over all test lesions "
        "is measured on [the page of the attention maps](03_where_it_looks.ipynb).",
        "a map is a picture of one network and one lesion, in which it is easy to see what one expects.",
    )
