"""What is lost when an ARL block lacks one of its parts, and what other kinds of attention give. Read from the archive.

Which there are is data, in `profiles`; see `companions`. A row without runs says so.
"""

import pandas as pd

from arlrepro import companions, outcomes, pairing, tables, words
from arlrepro.archive import Study
from arlrepro.comparisons import Difference
from arlrepro.intervals import Estimate
from arlrepro.outcomes import Outcome, known

QUANTITY = "mean_auc"
COLUMNS = ("mean AUC [95 % CI]", "difference [95 % CI]", "p", "compared in", "runs", "started from")


def variants(study: Study) -> pd.DataFrame:
    """Is each part of the block worth having? Every ARL network as it is, and with one part changed.

    Returns:
        A row a network and variant: its mean AUC on the test lesions; the network as it is minus the variant, on the
        same lesions and seeds; how many of its planned runs are there, and what their weights started from.
    """
    rows = {}
    for resnet, arl in pairing.partners(study):
        if arl.startswith("arl"):
            rows[arl, "as it is"] = _cells(study, arl)
            gain = known(outcomes.difference, study, (resnet, arl), QUANTITY)
            rows[arl, f"α fixed at zero, {words.network(resnet)}"] = _cells(study, resnet, gain)
            gain = known(outcomes.difference, study, [arl], f"removal.{QUANTITY}")
            rows[arl, "term taken out after training"] = {**_cells(study, arl, gain), COLUMNS[0]: ""}
            for name, part in companions.read(study, "ablation").items():
                gain = known(outcomes.variant_difference, study, part, arl, QUANTITY)
                rows[arl, name] = _cells(part, arl, gain)
    index = pd.MultiIndex.from_tuples([(words.network(arl), name) for arl, name in rows], names=["network", "variant"])
    table = pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))
    return table.rename(columns={COLUMNS[1]: "as it is minus this [95 % CI]"})


def terms(study: Study) -> pd.DataFrame:
    """How large is the attention term of each variant, and what does a trained network lose without it?

    Returns:
        A row a network, variant and block, and one for all blocks together: α, the term over x (`tables.term_sizes`),
        and the mean AUC as it is minus that with the term taken out after training (`tables.removal`).
    """
    rows = []
    parts = {"as it is": study, **companions.read(study, "ablation")}
    for arl in [network for _, network in pairing.partners(study) if network.startswith("arl")]:
        for name, part in parts.items():
            there = Study(part.profile, tuple(part.of(arl)))
            sizes = {row["block"]: row for row in tables.term_sizes(there).to_dict("records")}
            for lost in tables.removal(there).to_dict("records") or [{}]:
                size = sizes.get(lost.get("taken out of"), {})
                rows.append(
                    {
                        "network": words.network(arl),
                        "variant": name,
                        "block": lost.get("taken out of", ""),
                        **{title: size.get(title, "") for title in ("α", "α M x over x")},
                        "mean AUC lost without it [95 % CI]": lost.get("mean AUC", ""),
                        "p": lost.get("p, mean AUC", ""),
                        "runs": len(there.runs),
                    }
                )
    columns = ["network", "variant", "block", "α", "α M x over x", "mean AUC lost without it [95 % CI]", "p", "runs"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])


def other_networks(study: Study) -> pd.DataFrame:
    """What do other kinds of attention give? Each network minus the ResNet of its depth, by one protocol.

    Returns:
        A row a network: its mean AUC on the test lesions, the difference on the same lesions and seeds, how many of its
        planned runs are there, and what their weights started from.
    """
    every = companions.every_network(study)
    gains = {
        network: known(outcomes.difference, every, (resnet, network), QUANTITY)
        for resnet, network in pairing.partners(every)
    }
    rows = {
        network: _cells(part, network, gains.get(network))
        for part in (study, *companions.read(study, "networks").values())
        for network in part.profile.networks
    }
    index = pd.Index([words.network(network) for network in rows], name="network")
    table = pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))
    return table.rename(columns={COLUMNS[1]: "minus ResNet [95 % CI]"})


def _cells(study: Study, network: str, difference: Outcome[Difference] | None = None) -> dict[str, str]:
    """A row's cells; empty where the runs have no answer."""
    figure: Outcome[Estimate] | None = known(outcomes.figure, study, network, QUANTITY)
    planned = sum(one.network.name == network for one in study.profile.experiments()) * len(study.profile.seeds)
    cells = (
        words.with_interval(figure.estimate) if figure else "",
        words.signed(difference.estimate) if difference else "",
        words.p_value(difference.estimate.p) if difference else "",
        words.seeds(difference.seeds) if difference else "",
        f"{len(study.of(network))} of {planned}",
        words.start(study.profile.experiment.network.weights),
    )
    return dict(zip(COLUMNS, cells, strict=True))
