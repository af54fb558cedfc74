"""The front page in sentences: the abstract, what can be shown at all, how many claims have which verdict."""

from collections import Counter
from collections.abc import Sequence

from IPython.display import Markdown

from arlrepro import registry
from arlrepro.book.answers.finding import CORRELATION, difference, names_of
from arlrepro.book.answers.results import results
from arlrepro.book.tables import protocol
from arlrepro.evaluation import formatting
from arlrepro.evaluation.power import detectable_difference
from arlrepro.paper.claims import LATER, VERDICTS, Verdict
from arlrepro.paper.published import LESIONS, POSITIVES, published_effect, published_gain
from arlrepro.registry import PAIR
from arlrepro.runs.estimates import FEWEST_SEEDS, in_words
from arlrepro.runs.study import Study, partners, runs_by_seed


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
        f"Here {names_of(study.profile.networks)} are trained {how} on {images} by one protocol, with {seeds} planned "
        f"seed{'s' * (seeds > 1)} each, and compared by rules that were fixed before the first test score."
    )


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
        "not supported": f"So any gain of these networks by this protocol is below the published one ({gain:+.3f}).",
        "inconclusive": f"So neither a gain of the published size ({gain:+.3f}) nor its absence is shown.",
        "measure failed": "So the measure cannot say.",
    }.get(verdict.verdict, "So the paper's claim is neither confirmed nor contradicted here yet.")


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


def another_study(study: Study) -> Markdown:
    """The finding of a study that the page is not about, for the front page."""
    return Markdown(str(results(study)))
