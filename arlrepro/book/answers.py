"""The front page's few sentences, made from the verdicts: what is claimed, done and found, and how sure that is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from arlrepro import registry
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Difference
from arlrepro.paper.claims import VERDICTS, Verdict
from arlrepro.paper.published import published_gain
from arlrepro.runs import estimates
from arlrepro.runs.estimates import Outcome
from arlrepro.runs.study import Study


def in_short(verdicts: Sequence[Verdict], study: Study, baselines: pd.DataFrame) -> pd.DataFrame:
    """The answer in six lines; the difference is that of the claim which was named primary before its first run.

    Args:
        verdicts: of all claims.
        study: the runs.
        baselines: `baselines.colour_baseline`, whose first row needs no network.
    """
    primaries = [one for one in verdicts if one.claim.primary]
    own = [one for one in primaries if one.claim.profile == study.profile.name]
    alike = [one for one in primaries if set(one.claim.networks) <= set(study.profile.networks)]
    primary = (own or alike or primaries)[0]
    base, other = primary.claim.networks
    lines = {
        "What is claimed?": claimed(),
        "What did we do?": done(study),
        "What came out?": came_out(primary, study),
        "How sure are we?": how_sure(primary, study),
        "And without a network?": without_network(baselines, study),
        "All the claims?": counted(verdicts),
    }
    return pd.Series(lines).to_frame(f"{registry.network(other)} against {registry.network(base)}")


def claimed() -> str:
    """The published gain, from the published figures."""
    gain = published_gain("mean_auc")
    if gain is None:
        return "Better classification than a ResNet of the same depth; no figures are known to us."
    return (
        f"Better classification than a ResNet of the same depth: a mean AUC of {gain.after:.3f} in place of "
        f"{gain.before:.3f} ({gain.value:+.3f}), at 50 layers."
    )


def done(study: Study) -> str:
    """What was trained, and on what."""
    drawn = study.profile.experiment.data.source == "synthetic"
    images = "drawn lesions, no real ones" if drawn else "the challenge's real images"
    networks = ", ".join(map(registry.network, study.profile.networks))
    planned = len(study.runs) + len(study.missing)
    return (
        f"Trained {networks} by one protocol on {images}: {study.profile.purpose}. "
        f"{len(study.runs)} of {planned} planned runs are there."
    )


def came_out(primary: Verdict, study: Study) -> str:
    """The difference with its interval, and its verdict where the study is the one that decides."""
    if study.profile.name != primary.claim.profile:
        ours = _difference(primary, study)
        said = formatting.signed(ours.estimate) + " [95 % CI]" if ours else "not known, for want of runs"
        return f"A difference of mean AUCs of {said}. The claims are decided by part {primary.claim.profile}, not here."
    if not primary.runs:
        return f"Nothing yet: {primary.reason}"
    found = f"A difference of mean AUCs of {primary.found} [95 % CI]."
    return f"{found} Verdict by the rule fixed beforehand: {primary.shown}."


def how_sure(primary: Verdict, study: Study) -> str:
    """What the interval covers, and what it does not; with several seeds, how they differ."""
    found = _difference(primary, study)
    if not found:
        return "Not at all, until there are runs."
    if len(found.seeds) < 2:
        return (
            "Not very: one seed that both share. The interval is over lesions alone and says how two trained networks "
            "differ, not how two kinds of network do."
        )
    alone = [
        _difference(primary, replace(study, runs=tuple(run for run in study.runs if run.seed == seed)))
        for seed in found.seeds
    ]
    each = ", ".join(f"{one.estimate.value:+.3f}" for one in alone if one)
    lacking = f" Planned runs still to come: {len(study.missing)}." if study.missing else ""
    return f"As the interval says, over lesions and {formatting.seeds(found.seeds)}, which alone give {each}.{lacking}"


def _difference(primary: Verdict, study: Study) -> Outcome[Difference] | None:
    return estimates.known(estimates.difference, study, primary.claim.networks, primary.claim.quantity)


def without_network(baselines: pd.DataFrame, study: Study) -> str:
    """What a regression on colours reaches, beside the networks: what they must beat to be worth comparing."""
    of_networks = [
        f"{registry.network(network)} has {formatting.with_interval(found.estimate)}"
        for network in study.profile.networks
        if (found := estimates.known(estimates.figure, study, network, "mean_auc"))
    ]
    alone = [name for name in baselines.index if "no network" in name]
    if not alone:
        return "Not known here: `arlrepro baseline` says what colours alone give."
    return "; ".join([f"Colours alone reach a mean AUC of {baselines.loc[alone[0], 'mean AUC']}", *of_networks]) + "."


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many claims have which verdict.

    Example:
        >>> from arlrepro.paper.claims import Verdict, read_claims
        >>> counted([Verdict(claim, "cannot tell", "") for claim in read_claims()[:2]])
        'Of 2 claims: 2 cannot tell.'
    """
    number = Counter(one.verdict for one in verdicts)
    return f"Of {len(verdicts)} claims: {', '.join(f'{number[one]} {one}' for one in VERDICTS if number[one])}."
