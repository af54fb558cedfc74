"""What was known and chosen before any result, in sentences: data, protocol, published metrics, costs, runs."""

import numpy as np

from arlrepro.book.answers.finding import CORRELATION, Finding
from arlrepro.book.tables import baselines, networks, protocol
from arlrepro.data.synthetic.signs import SIGNS
from arlrepro.evaluation.power import detectable_difference
from arlrepro.paper import consistency
from arlrepro.paper.departures import LEADING
from arlrepro.paper.departures import departures as listed
from arlrepro.paper.published import LESIONS, POSITIVES, published_gain
from arlrepro.registry import NETWORKS
from arlrepro.runs.estimates import FEWEST_SEEDS
from arlrepro.runs.study import Study


def data(study: Study) -> Finding:
    """How many images, of which kinds, and whether the splits share any."""
    counts = baselines.composition(study)
    twins = baselines.near_duplicates(study)
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
