"""Each claim's test and its verdict from archived runs: `claims.yaml` says what decides, this says what was decided."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from arlrepro import registry, storage
from arlrepro.errors import ConfigError, MetricError, RunError, some
from arlrepro.evaluation import formatting
from arlrepro.evaluation.comparisons import equivalence_p, holm
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.paper.published import published_effect
from arlrepro.profiles import PROFILES
from arlrepro.registry import NETWORKS
from arlrepro.runs import estimates
from arlrepro.runs.estimates import Outcome
from arlrepro.runs.study import Study

CLAIMS_YAML = Path(__file__).with_name("claims.yaml")
#: Of the rules `difference`, `level` and `exact`.
REPLICATED, NOT_REPLICATED, CANNOT_TELL = ("replicated", "not replicated", "cannot tell")
#: Of the rules `gain` and `reach`.
SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = ("supported", "not supported", "inconclusive")
NOT_TESTED, MEASURE_FAILED = ("not tested", "measure failed")
VERDICTS = (
    *(SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE, MEASURE_FAILED, NOT_TESTED),
    *(REPLICATED, NOT_REPLICATED, CANNOT_TELL),
)
#: The rules of the first entries, of those registered later, and of what is counted.
RULES = ("difference", "level", "gain", "reach", "exact")
DIFFERENCES, LEVELS, LATER = ("difference", "gain"), ("level", "reach"), ("gain", "reach")
LEVEL_OF_P = 0.05


@dataclass(frozen=True)
class Claim:
    """A claim with the test that decides it, as it was committed before the results."""

    id: str
    claim: str
    source: str
    rule: str  # one of RULES
    quantity: str
    networks: tuple[str, ...]
    profile: str  # whose runs decide; empty where no run is needed
    family: str  # claims of one family share an adjustment of their p values; empty for a family of its own
    effect: float | None  # what would be found if the claim held as published; None where that is not known
    effect_is_published: bool
    primary: bool = False
    exploratory: bool = False  # decided on after results were seen
    check: str = ""  # a quantity of each network that must lie above 0, or the measure tells nothing
    margin: float = 0.0  # of the rule `reach`


@dataclass(frozen=True)
class Verdict:
    """What the archive says of a claim. Fields without a value are NaN or empty."""

    claim: Claim
    verdict: str  # one of VERDICTS
    reason: str
    estimate: float = float("nan")
    interval: tuple[float, float] = (float("nan"), float("nan"))
    p_adjusted: float = float("nan")
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()  # ids

    @property
    def effect(self) -> float | None:
        """The published difference or level, or ours where the claim says so."""
        return self.claim.effect

    @property
    def found(self) -> str:
        """The metric with its interval, in words; empty where there is none."""
        if np.isnan(self.estimate):
            return ""
        found = Estimate(self.estimate, *self.interval)
        return _in_words(self.claim, found, bool(self.runs) and len(self.seeds) < estimates.FEWEST_SEEDS)

    @property
    def shown(self) -> str:
        """The verdict in words; where planned seeds are lacking, with how many of them it rests on."""
        planned = PROFILES[self.claim.profile].seeds if self.claim.profile else ()
        if not self.seeds or self.seeds == planned:
            return self.verdict
        return f"{self.verdict} ({len(self.seeds)} of {len(planned)} seeds)"


def read_claims(path: Path = CLAIMS_YAML) -> tuple[Claim, ...]:
    """Read and check the claims.

    Raises:
        ConfigError: a field, rule, family, profile or network does not exist, an id stands twice, or the file is
            damaged or another one.

    Example:
        >>> [claim.id for claim in read_claims() if claim.primary]
        ['mean-auc-14', 'mean-auc-50-imagenet', 'mean-auc-lite0']
    """
    with storage.reading(path, ConfigError, "restore it: git checkout claims.yaml"):
        stored = yaml.safe_load(path.read_text(encoding="utf8"))
        families = {one["id"]: one for one in stored["families"]}
        claims = tuple(_claim(path, families, dict(one)) for one in stored["claims"])
    ids = [claim.id for claim in claims]
    if doubled := sorted({one for one in ids if ids.count(one) > 1}):
        raise ConfigError(f"{path}: {some(doubled)} stand twice; an id names one claim")
    return claims


def _claim(path: Path, families: Mapping[str, Any], entry: dict[str, Any]) -> Claim:
    name = entry.get("id")
    family = entry.pop("family", "")
    if family:
        if family not in families:
            raise ConfigError(f"{path}: claim {name}: no family {family!r}; there are {', '.join(families)}")
        entry |= {key: families[family][key] for key in ("networks", "profile")}
    networks, effect = tuple(entry.pop("networks")), entry.pop("effect")
    for what, given, known in (
        ("rule", entry["rule"], RULES),
        ("profile", entry.get("profile", ""), ("", *PROFILES)),
        *(("network", network, NETWORKS) for network in networks),
    ):
        if given not in known:
            raise ConfigError(f"{path}: claim {name}: no {what} {given!r}; there are {', '.join(filter(None, known))}")
    there = sorted(field.name for field in fields(Claim))
    if unknown := sorted(set(entry) - set(there)):
        raise ConfigError(f"{path}: claim {name}: no field {some(unknown)}; there are {', '.join(there)}")
    return Claim(
        **{"profile": "", **entry, "margin": float(entry.get("margin", 0))},
        networks=networks,
        family=family,
        effect=_effect(effect),
        effect_is_published="published" in effect,
    )


def _effect(effect: Mapping[str, Any]) -> float | None:
    """A number of ours, or what the published rows say."""
    return float(effect["ours"]) if "ours" in effect else published_effect(effect["of"], effect["published"])


def decide(claims: tuple[Claim, ...], studies: Mapping[str, Study]) -> list[Verdict]:
    """The verdict on each claim.

    Args:
        claims: from `read_claims`.
        studies: archived runs by profile; a claim on any other is not tested.

    Returns:
        One verdict a claim, in their order.
    """
    found = {claim.id: _outcome(claim, studies) for claim in claims if claim.rule != "exact"}
    adjusted = _adjusted(claims, found)
    decided = []
    for claim in claims:
        if claim.rule == "exact":
            decided.append(_exact(claim))
        elif isinstance(outcome := found[claim.id], str):
            decided.append(Verdict(claim, NOT_TESTED if claim.rule in LATER else CANNOT_TELL, outcome))
        else:
            failed = _failed_check(claim, studies)
            decided.append(_decided(claim, outcome, adjusted.get(claim.id, float("nan")), failed))
    return decided


def _outcome(claim: Claim, studies: Mapping[str, Study]) -> Outcome | str:
    """What the runs say of a claim's quantity, or why they say nothing."""
    study = studies.get(claim.profile)
    if study is None:
        return f"no run of the profile {claim.profile} is in the archive."
    try:
        if claim.rule in LEVELS:
            return estimates.metric(study, claim.networks[0], claim.quantity)
        return estimates.difference(study, claim.networks, claim.quantity)
    except (RunError, MetricError) as error:
        return f"{error}."


def _adjusted(claims: tuple[Claim, ...], found: Mapping[str, Outcome | str]) -> dict[str, float]:
    """p values after Holm, in each family; members without runs count, with p = 1, so that a family keeps its size."""
    families: dict[str, dict[str, float]] = {}
    for claim in claims:
        if claim.rule in DIFFERENCES:
            outcome = found[claim.id]
            p = 1.0 if isinstance(outcome, str) else outcome.estimate.p
            families.setdefault(claim.family or claim.id, {})[claim.id] = p
    adjusted = {name: holm(np.array(list(family.values()))) for name, family in families.items()}
    return {one: float(p) for name, family in families.items() for one, p in zip(family, adjusted[name], strict=True)}


def _failed_check(claim: Claim, studies: Mapping[str, Study]) -> str:
    """In which network the check of a claim's measure failed, in words; empty where it did not, or there is none."""
    if not claim.check:
        return ""
    for network in claim.networks:
        found = estimates.difference(studies[claim.profile], [network], claim.check).estimate
        if not found.low > 0:
            return (
                f"in {registry.network(network)} {registry.QUANTITIES[claim.check]} is {found.signed()}: "
                "the measure does not tell a trained network from an untrained one"
            )
    return ""


def _decided(claim: Claim, outcome: Outcome, p_adjusted: float, failed_check: str) -> Verdict:
    """Apply a claim's rule to its interval, once all the planned seeds are there."""
    found = outcome.estimate
    planned = PROFILES[claim.profile].seeds
    if missing := set(planned) - set(outcome.seeds):
        # Reason: the protocol names its seeds; its rule for some of them would be another rule, chosen by the clock.
        verdict = NOT_TESTED if claim.rule in LATER else CANNOT_TELL
        why = f"the rule is for {len(planned)} seeds; still to come: {len(missing)}"
    elif failed_check:
        verdict, why = MEASURE_FAILED, failed_check
    elif claim.rule == "gain":
        assert isinstance(found, Difference)
        verdict, why = gain_rule(claim, found, p_adjusted)
    elif claim.rule == "reach":
        verdict, why = reach_rule(claim, found)
    elif isinstance(found, Difference):
        verdict, why = difference_rule(claim, found, p_adjusted)
    else:
        verdict, why = level_rule(claim, found)
    return Verdict(
        claim,
        verdict,
        f"{_what(claim, outcome, p_adjusted)}: {why}.",
        found.value,
        (found.low, found.high),
        p_adjusted,
        outcome.seeds,
        outcome.runs,
    )


def level_rule(claim: Claim, found: Estimate) -> tuple[str, str]:
    """Replicated where the upper end of the interval reaches the published metric; with the reason in words."""
    if claim.effect is None:
        return CANNOT_TELL, "the published metric is not known to us"
    if found.high >= claim.effect:
        return REPLICATED, f"the interval reaches the published {claim.effect:.3f}"
    return NOT_REPLICATED, f"the interval ends below the published {claim.effect:.3f}"


def difference_rule(claim: Claim, found: Difference, p_adjusted: float) -> tuple[str, str]:
    """Replicated where the interval lies above 0 and the adjusted p value is below 0.05, with the reason in words.

    Not replicated where the interval lies below the claim's effect and does not lie above 0; else one cannot tell.
    """
    gain = "the published gain" if claim.effect_is_published else "the least that we would call an effect,"
    gain = "" if claim.effect is None else f"{gain} {claim.effect:+.3f}"
    if found.low > 0:
        if p_adjusted >= LEVEL_OF_P:
            return CANNOT_TELL, f"the interval lies above 0, but the adjusted p value is not below {LEVEL_OF_P}"
        less = f", and below {gain}" if claim.effect is not None and found.high < claim.effect else ""
        return REPLICATED, f"the interval lies above 0{less}"
    if claim.effect is None:
        return CANNOT_TELL, "the interval does not lie above 0, and the published gain is not known to us"
    if found.high < claim.effect:
        below = "lies below 0" if found.high < 0 else "does not lie above 0"
        return NOT_REPLICATED, f"the interval {below} and excludes {gain}"
    return CANNOT_TELL, f"the interval holds both 0 and {gain}"


def gain_rule(claim: Claim, found: Difference, p_adjusted: float) -> tuple[str, str]:
    """Supported, not supported or inconclusive, as `claims.yaml` says of the rule `gain`; with the reason in words.

    Args:
        claim: with its effect, which is the margin of equivalence.
        found: the difference with its 95 % interval.
        p_adjusted: of no difference, adjusted in its family.
    """
    if claim.effect is None:
        raise ConfigError(f"claim {claim.id}: the rule gain needs a known effect, its margin of equivalence")
    gain = f"{'the published gain' if claim.effect_is_published else 'the least worth the name,'} {claim.effect:+.3f}"
    # Reason: where every lesion is ranked alike with and without, the difference is 0 and has no error.
    p_equivalent = equivalence_p(found, claim.effect) if found.standard_error > 0 else float(found.value != 0)
    equivalent = f"equivalent to none within {claim.effect:.3f} (p {formatting.p_value(p_equivalent)})"
    if found.low > 0 and p_adjusted < LEVEL_OF_P:
        return SUPPORTED, "the interval lies above 0" + (f", and below {gain}" if found.high < claim.effect else "")
    if p_equivalent < LEVEL_OF_P:
        return NOT_SUPPORTED, equivalent + (f"; the interval excludes {gain}" if found.high < claim.effect else "")
    if found.high < claim.effect:
        return NOT_SUPPORTED, f"the interval excludes {gain}"
    return INCONCLUSIVE, f"neither above 0 with an adjusted p below {LEVEL_OF_P}, nor {equivalent}, nor below {gain}"


def reach_rule(claim: Claim, found: Estimate) -> tuple[str, str]:
    """Supported, not supported or inconclusive, as `claims.yaml` says of the rule `reach`; with the reason in words."""
    if claim.effect is None:
        raise ConfigError(f"claim {claim.id}: the rule reach needs a known level")
    if found.low > claim.effect - claim.margin:
        return SUPPORTED, f"the interval lies above the published {claim.effect:.3f} less {claim.margin:.3f}"
    if found.high < claim.effect:
        return NOT_SUPPORTED, f"the interval lies below the published {claim.effect:.3f}"
    return INCONCLUSIVE, f"the interval holds the published {claim.effect:.3f} and lower levels than it less the margin"


def _in_words(claim: Claim, found: Difference | Estimate, few_seeds: bool = False) -> str:
    """What was found, its interval in as many decimals as tell its ends from what the claim's rule holds them to.

    A difference of two kinds of network has no interval over so few seeds, see `estimates.in_words`.
    """
    if claim.rule == "exact":
        return f"{found.value:.0f}"
    if few_seeds and claim.rule in DIFFERENCES:
        return formatting.change(found.value)
    marks = [] if claim.effect is None else [claim.effect]
    return found.text(*marks) if claim.rule in LEVELS else found.signed(*marks)


def _what(claim: Claim, outcome: Outcome, p_adjusted: float) -> str:
    """The first half of a reason: what was found, in numbers."""
    found = outcome.estimate
    names = [registry.network(network) for network in claim.networks]
    if claim.rule in LEVELS:
        subject = f"{names[0]} has {registry.QUANTITIES[claim.quantity]}"
    elif len(names) == 1:
        subject = f"{names[0]} minus itself without its attention term is"
    else:
        subject = f"{names[1]} minus {names[0]} is"
    few = len(outcome.seeds) < estimates.FEWEST_SEEDS
    p = "" if few or np.isnan(p_adjusted) else f", p {formatting.p_value(p_adjusted)}"
    adjusted = " after Holm" if p and claim.family else ""
    planned = PROFILES[claim.profile].seeds
    of = "" if outcome.seeds == planned else f" of the {len(planned)} planned"
    numbers = _in_words(claim, found, few)
    return f"{subject} {numbers} ({formatting.seeds(outcome.seeds)}{of}, {outcome.lesions} lesions{p}{adjusted})"


def _exact(claim: Claim) -> Verdict:
    base, other = claim.networks
    if claim.quantity != "extra_parameters" or claim.effect is None:
        raise ConfigError(f"claim {claim.id}: nothing counts {claim.quantity!r}; an exact claim is on extra_parameters")
    parameters = {name: NETWORKS[name].parameters for name in claim.networks}
    counted = parameters[other] - parameters[base]
    verdict = REPLICATED if counted == claim.effect else NOT_REPLICATED
    reason = (
        f"{registry.network(other)} has {parameters[other]:,} parameters and {registry.network(base)} "
        f"{parameters[base]:,}: {counted} more, {claim.effect:.0f} claimed."
    )
    return Verdict(claim, verdict, reason, float(counted))
