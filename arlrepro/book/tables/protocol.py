"""The protocol as tables, chosen before any result: settings, departures from the paper, trials, power of the seeds.

The meaning of a setting is read from the comment beside it in the config, so that the text cannot drift from it.
"""

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from arlrepro import registry
from arlrepro.config import Experiment
from arlrepro.evaluation import formatting
from arlrepro.evaluation.power import (
    paired_seeds,
    standard_error_of_difference,
)
from arlrepro.paper.departures import LEADING, Departure
from arlrepro.paper.departures import departures as listed
from arlrepro.paper.published import LESIONS, POSITIVES, published_gain
from arlrepro.paths import trials_csv
from arlrepro.profiles import Profile
from arlrepro.registry import CLASSES, NETWORKS
from arlrepro.runs.estimates import in_words, known, variant_difference
from arlrepro.runs.study import Study, read_companions

CODE = Path(__file__).parents[2]


@cache
def _field_comments() -> dict[tuple[str, str], str]:
    """The comment of every field of the config's dataclasses, by class and field."""
    source = (CODE / "config.py").read_text(encoding="utf8")
    comments = dict(_comments(source))
    return {
        (kind.name, entry.target.id): " ".join(
            comments[line] for line in range(entry.lineno, (entry.end_lineno or entry.lineno) + 1) if line in comments
        )
        for kind in ast.parse(source).body
        if isinstance(kind, ast.ClassDef)
        for entry in kind.body
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name)
    }


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """The comments of a module, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ").rstrip()


def settings(profile: Profile) -> pd.DataFrame:
    """The protocol of a profile field by field, the full one beside it, with the field's meaning and source.

    Returns:
        Rows: section and field. "full protocol" is the default of the config: the paper's where the last column names
        a source, else our choice; "this profile" is empty where it is the same.
    """
    rows = []
    for section in fields(Experiment):
        ours, default = getattr(profile.experiment, section.name), getattr(Experiment(), section.name)
        pairs = (
            [(entry.name, getattr(ours, entry.name), getattr(default, entry.name)) for entry in fields(ours)]
            if is_dataclass(ours)
            else [(section.name, ours, default)]
        )
        owner = type(ours).__name__ if is_dataclass(ours) else Experiment.__name__
        for name, here, papers in pairs:
            if (owner, name) == ("NetworkConfig", "name"):
                here, papers = ", ".join(map(registry.network, profile.networks)), registry.network(papers)
            rows.append(
                {
                    "section": section.name,
                    "field": name,
                    "full protocol": _shown(papers),
                    "this profile": "" if here == papers else _shown(here),
                    "meaning, unit, source": _field_comments()[owner, name],
                }
            )
    return pd.DataFrame(rows).set_index(["section", "field"])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(_shown(one) for one in value) if isinstance(value, tuple) else str(value)


def departures(study: Study, leading: bool = True) -> pd.DataFrame:
    """Where the protocol of a study departs from the paper's, ranked by the likely effect.

    Args:
        study: its runs, and those of its ablation, measure an effect where one was planned.
        leading: the five with the largest likely effect, or else the others.
    """
    found = listed(study.profile)
    rows = [
        {
            "setting": one.setting,
            "paper": one.paper,
            "here": one.here,
            "reason": one.reason,
            "likely effect": one.likely,
            "measured effect on mean AUC": _measured(one, study),
        }
        for one in (found[:LEADING] if leading else found[LEADING:])
    ]
    return pd.DataFrame(rows).set_index("setting")


def _measured(one: Departure, study: Study) -> str:
    """What was measured, or what would measure it."""
    part = read_companions(study, "ablation").get(one.variant)
    arl = next((one for one in study.profile.networks if NETWORKS[one].attention == "arl"), "")
    if part is not None and (gain := known(variant_difference, study, part, arl, "mean_auc")):
        return f"here minus {one.variant}: {in_words(gain)}, {formatting.seeds(gain.seeds)}"
    if gains := _tried(one, study):
        return f"in the trials, {gains}"
    return f"not measured; {one.by} would" if one.by.startswith("-") else f"not measured{'; ' * bool(one.by)}{one.by}"


def _trials(study: Study) -> pd.DataFrame:
    """The rows of the file of trials; none where the protocol of a study is none that trials chose."""
    path = trials_csv(study.profile.name)
    return pd.read_csv(path).fillna("") if path.is_file() else pd.DataFrame()


def _tried(one: Departure, study: Study) -> str:
    """What the trials say of a setting, in words: mean AUCs of held-out lesions, of one training each."""
    rows = _trials(study)
    if rows.empty:
        return ""
    found = rows.set_index(["trial", "evaluation_side"])["mean_auc"]
    said = []
    for here, other in (pair for pair in one.tried if set(pair) <= set(found.index)):
        names = [f"{name} at {side} px" if here[1] != other[1] else name for name, side in (here, other)]
        said.append(f"{' minus '.join(names)}: {found[here] - found[other]:+.4f}")
    return "; ".join(said)


def trials(study: Study) -> pd.DataFrame:
    """What was tried before a protocol was fixed, with the plain network and no test image; no rows without trials.

    Returns:
        A row a trial and side of evaluation: its settings, minutes of training, AUCs of the held-out lesions.
    """
    tried = _trials(study)
    if tried.empty:
        return tried
    return pd.DataFrame(
        {
            "trial": tried["trial"],
            "network": tried["network"].map(registry.network),
            "settings": tried["settings"],
            "evaluated at, px": tried["evaluation_side"],
            "minutes": tried["minutes"].map(lambda one: formatting.number(one, 1)),
            **{registry.QUANTITIES[f"{name}.auc"]: tried[name].map(formatting.number) for name in CLASSES},
            "mean AUC": tried["mean_auc"].map(formatting.number),
            "lesions": tried["lesions"],
        }
    ).set_index(["trial", "network"])


#: The seeds of one network differ by this much at least and at most in what is believed of fine-tuned networks, and
#: the AUC estimates of the two networks correlate so: where a design is judged before its runs.
SEED_DEVIATIONS, CORRELATIONS = (0.004, 0.008, 0.016), (0.9, 0.95)


def seed_designs(profile: Profile) -> pd.DataFrame:
    """What the planned seeds can show, before any of them: half the interval's width, and power for the published gain.

    Returns:
        A row a standard deviation among one network's seeds and a correlation of the two mean AUCs over test sets.
    """
    gain = published_gain("mean_auc")
    assert gain is not None
    rows = []
    for deviation in SEED_DEVIATIONS:
        for correlation in CORRELATIONS:
            width, power = planned(profile, deviation, correlation)
            rows.append(
                {
                    "SD among seeds": formatting.number(deviation),
                    "correlation of the AUC estimates": formatting.number(correlation, 2),
                    "seeds": len(profile.seeds),
                    "half-width of the 95 % interval": formatting.number(width),
                    f"power for {gain.value:.3f}": formatting.number(power, 2),
                }
            )
    return pd.DataFrame(rows).set_index(["SD among seeds", "correlation of the AUC estimates"])


def planned(profile: Profile, deviation: float, correlation: float) -> tuple[float, float]:
    """Half-width of the interval and power for the published gain in mean AUC, of the seeds that a profile plans.

    The error of a mean AUC through the lesions is that of two independent tasks.
    """
    found, errors = published_gain("mean_auc"), []
    assert found is not None
    for task in CLASSES:
        of_task, positives = published_gain(f"{task}.auc"), POSITIVES["test"][task]
        assert of_task is not None
        counts = positives, LESIONS["test"] - positives
        errors.append(standard_error_of_difference(of_task.before, of_task.after, *counts, correlation))
    of_lesions = sum(one**2 for one in errors) ** 0.5 / len(errors)
    return paired_seeds(found.value, of_lesions, deviation, len(profile.seeds))
