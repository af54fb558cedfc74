"""Where the networks look, in sentences, and whether the check of the maps lets anything follow from it."""

from dataclasses import replace

from arlrepro import registry
from arlrepro.book.answers.finding import Finding, names_of, nothing
from arlrepro.book.tables import terms
from arlrepro.evaluation.intervals import Difference
from arlrepro.registry import NETWORKS
from arlrepro.runs import estimates
from arlrepro.runs.estimates import FEWEST_SEEDS, Outcome, in_words, known
from arlrepro.runs.study import Study, partners, present


def attention_maps(study: Study) -> Finding:
    """Is the term used, and do the maps lie on the lesion, more than an untrained network's?"""
    arl = [network for network in present(study) if NETWORKS[network].attention == "arl"]
    if not arl:
        return nothing(study)
    network = arl[0]
    name = registry.network(network)
    sizes = terms.largest_term(study, network)
    lost = known(estimates.difference, study, [network], "removal.mean_auc")
    found = (
        f"The attention term of {name} reaches {sizes[1]:.2%} of the shortcut's size ({sizes[0]}); setting every α to "
        f"0 at test changes the mean AUC by {in_words(_negative(lost))}."
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


def lesions_seen(study: Study) -> Finding:
    """What the explorer shows."""
    having = [network for network in present(study) if any("maps" in run.measures for run in study.of(network))]
    if not having:
        return nothing(study)
    return Finding(
        f"Maps of {names_of(having)} over the same synthetic lesions, one seed of each; what holds over all test "
        "lesions is measured on [the page of the attention maps](03_where_it_looks.ipynb).",
        "a map is a picture of one network and one lesion, in which it is easy to see what one expects.",
    )
