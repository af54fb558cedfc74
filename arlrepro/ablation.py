"""What is lost when an ARL block lacks one of its parts, and what other kinds of attention give. Read from the archive.

The variants are data, in `profiles`: beside a study's own profile one named `<profile>-ablation`, of the same protocol
but for one setting each, and `<profile>-networks` for the other kinds of attention. A row without runs says so.
"""

from dataclasses import replace

import pandas as pd

from arlrepro import outcomes, pairing, tables, words
from arlrepro.archive import RESULTS, Study, read_study, root
from arlrepro.comparisons import Difference
from arlrepro.intervals import Estimate
from arlrepro.outcomes import Outcome, known
from arlrepro.profiles import PROFILES

#: The profiles beside a study's own, by the end of their names.
COMPANIONS = {"ablation": "variants of the ARL block", "networks": "other kinds of attention"}
QUANTITY = "mean_auc"
COLUMNS = ("mean AUC [95 % CI]", "difference [95 % CI]", "p", "compared in", "runs", "started from")


def companions(study: Study, kind: str) -> dict[str, Study]:
    """The archived runs of a profile beside a study's own, a study for each of its parts; none where none is planned.

    Args:
        study: of the protocol that the others vary.
        kind: one of `COMPANIONS`.
    """
    name = f"{study.profile.name}-{kind}"
    parts = PROFILES[name].parts() if name in PROFILES else {}
    return {variant: read_study(part, root() / RESULTS / name) for variant, part in parts.items()}


def about(study: Study) -> str:
    """How many of the planned runs are there, a line for each kind."""
    lines = []
    for kind, what in COMPANIONS.items():
        parts = companions(study, kind).values()
        there = sum(len(part.runs) for part in parts)
        planned = there + sum(len(part.missing) for part in parts)
        none = f"No runs of {what} are planned beside those of {study.profile.name}."
        lines.append(f"{there} of {planned} planned runs of {what} are there." if parts else none)
    return "\n".join(lines)


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
            for name, part in companions(study, "ablation").items():
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
    parts = {"as it is": study, **companions(study, "ablation")}
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
    rows = {network: _cells(study, network) for network in study.profile.networks}
    for resnet, network in pairing.partners(study):
        rows[network] = _cells(study, network, known(outcomes.difference, study, (resnet, network), QUANTITY))
    for others in companions(study, "networks").values():
        networks = (*study.profile.networks, *others.profile.networks)
        both = Study(replace(study.profile, networks=networks), (*study.runs, *others.runs))
        for resnet, network in pairing.partners(both):
            if network in others.profile.networks:
                rows[network] = _cells(others, network, known(outcomes.difference, both, (resnet, network), QUANTITY))
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
