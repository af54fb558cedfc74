"""Networks beside one another as tables: sizes, costs, variants of the ARL block, other kinds of attention.

Which variants there are is data, in `profiles`. A row without runs says so. Throughput and memory are those of the
archived benchmark, as `make bench` measured it on one machine.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from arlrepro import registry, storage
from arlrepro.book.tables.terms import removal, sizes, term_sizes
from arlrepro.evaluation import formatting
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.paths import RESULTS, root
from arlrepro.registry import NETWORKS
from arlrepro.runs import estimates
from arlrepro.runs.estimates import FEWEST_SEEDS, Outcome, known
from arlrepro.runs.study import Study, every_network, partners, present, read_companions

QUANTITY, SIZE = "mean_auc", "α M x over x"
COLUMNS = ("mean AUC [95 % CI]", "difference [95 % CI]", "p", "compared in", "runs", "started from")

TODAY = "today's way"  # what the benchmark calls a plain PyTorch training
#: Of what the benchmark names, in the words of the pages.
IN_WORDS = {TODAY: "PyTorch baseline", **{rf"\b{name}\b": one.words for name, one in NETWORKS.items()}}
#: Of a row of the archived benchmark; where a ratio was not taken turn by turn, the last two are lacking.
TIMING_COLUMNS = ["what", "precision", "a second", "unit", "ratio", "ratio to", "least", "most"]


def variants(study: Study) -> pd.DataFrame:
    """Is each part of the block worth having? Every ARL network as it is, and with one part changed.

    Returns:
        A row a network and variant: its mean AUC on the test lesions; the network as it is minus the variant, on the
        same lesions and seeds; how many of its planned runs are there, and what their weights started from.
    """
    rows = {}
    for resnet, arl in partners(study):
        if NETWORKS[arl].attention == "arl":
            rows[arl, "as it is"] = _cells(study, arl)
            gain = known(estimates.difference, study, (resnet, arl), QUANTITY)
            rows[arl, f"α fixed at zero, {registry.network(resnet)}"] = _cells(study, resnet, gain)
            gain = known(estimates.difference, study, [arl], f"removal.{QUANTITY}")
            rows[arl, "α set to 0 at test"] = {**_cells(study, arl, gain), COLUMNS[0]: ""}
            for name, part in read_companions(study, "ablation").items():
                gain = known(estimates.variant_difference, study, part, arl, QUANTITY)
                rows[arl, name] = _cells(part, arl, gain)
    index = pd.MultiIndex.from_tuples(
        [(registry.network(arl), name) for arl, name in rows], names=["network", "variant"]
    )
    table = pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))
    return table[: None if study.runs else 0].rename(columns={COLUMNS[1]: "as it is minus this [95 % CI]"})


def terms(study: Study) -> pd.DataFrame:
    """How large is the attention term of each variant, and what does a trained network lose without it?

    Returns:
        A row a network, variant and block, and one for all blocks together: α, the term over x
        (`term_sizes`), and the mean AUC as it is minus that with α set to 0 at test
        (`removal`).
    """
    rows = []
    parts = {"as it is": study, **read_companions(study, "ablation")}
    for arl in [network for _, network in partners(study) if NETWORKS[network].attention == "arl"]:
        for name, part in parts.items():
            there = Study(part.profile, tuple(part.of(arl)))
            found = sizes(there).reset_index()
            of_block = dict(zip(found["block"], found[SIZE], strict=True)) if len(found) else {}
            weights = {row["block"]: row["α"] for row in term_sizes(there).to_dict("records")}
            rows_of = {block: {"α": alpha, SIZE: of_block.get(block, "")} for block, alpha in weights.items()}
            for lost in removal(there).reset_index().to_dict("records"):
                size = _of_blocks(rows_of, lost["α set to 0 in"])
                rows.append(
                    {
                        "network": registry.network(arl),
                        "variant": name,
                        "block": lost["α set to 0 in"],
                        **{title: size.get(title, "") for title in ("α", SIZE)},
                        "mean AUC lost without it [95 % CI]": lost["mean AUC"],
                        "p": lost["p, mean AUC"],
                        "runs": len(there.runs),
                    }
                )
    columns = ["network", "variant", "block", "α", "α M x over x", "mean AUC lost without it [95 % CI]", "p", "runs"]
    return pd.DataFrame(rows if study.runs else [], columns=columns).set_index(columns[:3])


def _of_blocks(sizes: Mapping[str, Mapping[str, str]], where: str) -> Mapping[str, str]:
    """α and the size of the term of a block; of a stage the range of its blocks' α and the largest of their terms."""
    within = [one for block, one in sizes.items() if f"{block},".startswith(f"{where},")]
    if len(within) < 2:
        return within[0] if within else {}
    alphas = sorted((one["α"] for one in within), key=float)
    largest = max((one[SIZE] for one in within), key=lambda words: float(words.partition(" ")[0] or 0))
    return {"α": f"{alphas[0]} to {alphas[-1]}", SIZE: largest}


def other_networks(study: Study) -> pd.DataFrame:
    """What do other kinds of attention give? Each network minus the ResNet of its depth, by one protocol.

    Returns:
        A row a network: its mean AUC on the test lesions, the difference from ResNet, how many of its planned runs are
        completed, and what their weights started from. Where a network has fewer than three seeds it is compared with
        all of ResNet's, for the seeds are what such a difference is uncertain by (`estimates.against_all_seeds`).
    """
    every = every_network(study)
    rows = {}
    resnets = {network: resnet for resnet, network in partners(every)}
    for part in (study, *read_companions(study, "networks").values()):
        for network in part.profile.networks:
            gain = known(estimates.difference, every, (resnets.get(network, network), network), QUANTITY)
            rows[network] = _cells(part, network, gain if network in resnets else None)
            if not (network in resnets and gain and len(gain.seeds) < FEWEST_SEEDS):
                continue
            if few := estimates.against_all_seeds(every, resnets[network], network, QUANTITY):
                whole = f"{formatting.seeds(gain.seeds)} against all of {registry.network(resnets[network])}"
                rows[network] |= {COLUMNS[1]: few.signed(), "compared in": whole}
    index = pd.Index([registry.network(network) for network in rows], name="network")
    table = pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))
    return table[: None if study.runs else 0].rename(columns={COLUMNS[1]: "minus ResNet [95 % CI]"})


def _cells(study: Study, network: str, difference: Outcome[Difference] | None = None) -> dict[str, str]:
    """A row's cells; empty where the runs have no answer."""
    figure: Outcome[Estimate] | None = known(estimates.metric, study, network, QUANTITY)
    planned = sum(one.network.name == network for one in study.profile.experiments()) * len(study.profile.seeds)
    cells = (
        figure.estimate.text() if figure else "",
        estimates.in_words(difference) if difference else "",
        formatting.p_value(difference.estimate.p) if difference and len(difference.seeds) >= FEWEST_SEEDS else "",
        formatting.seeds(difference.seeds) if difference else "",
        f"{len(study.of(network))} of {planned}",
        registry.start(study.profile.experiment.network.weights),
    )
    return dict(zip(COLUMNS, cells, strict=True))


def _benchmark() -> dict[str, Any]:
    return storage.read_json(root() / RESULTS / "benchmark.json", "make bench")


def machine() -> str:
    """The machine of the archived benchmark, in a line."""
    told = _benchmark()["machine"]
    units = "with" if told["bfloat16_units"] else "without"
    return (
        f"Measured on {told['device']}, {units} bfloat16 units, {told['threads']} threads, "
        f"torch {told['torch']}, {told['batch_size']} patches a batch, medians of {told['repeats']}."
    )


def timings() -> pd.DataFrame:
    """The archived benchmark: what was timed, how much a second, and its time over another's.

    Returns:
        A row a case and precision; the ratio is the median over turns in which both were timed, beside the least and
        the most in a single turn, where those were kept.
    """
    rows = pd.DataFrame(_benchmark()["rows"]).reindex(columns=TIMING_COLUMNS)
    shown = pd.DataFrame(
        {
            "what": rows["what"].replace(IN_WORDS, regex=True),
            "precision": rows["precision"],
            "throughput": [
                f"{value:.1f} {unit} a second" for value, unit in zip(rows["a second"], rows["unit"], strict=True)
            ],
            "time": [
                f"{ratio:.2f} x {'PyTorch baseline' if other == TODAY else registry.network(other)}"
                for ratio, other in zip(rows["ratio"], rows["ratio to"], strict=True)
            ],
            "range of single turns": [
                f"{least:.2f} to {most:.2f}" if most > least else ""
                for least, most in zip(rows["least"], rows["most"], strict=True)
            ],
        }
    )
    return shown.set_index(["what", "precision"])


def step_ratio(network: str, precision: str) -> float:
    """How many times as long as the plain network's a training step takes, in the archived benchmark."""
    (row,) = (
        one
        for one in _benchmark()["rows"]
        if one["what"] == f"training step, {network}" and one["precision"] == precision
    )
    return float(row["ratio"])


def memory() -> pd.DataFrame:
    """The archived benchmark's peak memory of a training, by the number of images."""
    rows = pd.DataFrame(_benchmark().get("memory", []), columns=["what", "MiB"])
    return rows.set_index("what").round().astype({"MiB": int}).rename(columns={"MiB": "peak memory, MiB"})


def trainable() -> pd.DataFrame:
    """Every network that can be trained here: its size, and what its weights can start from.

    Returns:
        A row a network, by depth: parameters, with one output; those over the plain network's, the ResNet of its depth
        or EfficientNet-Lite0; multiply-adds of a patch of 224 px, in millions; where its first weights can come from
        beside a random draw.
    """
    rows = []
    families = list(dict.fromkeys(one.plain for one in NETWORKS.values()))
    for network in sorted(NETWORKS.values(), key=lambda one: families.index(one.plain)):
        rest = {"": "", "arl": " and α"}.get(network.attention, " and its gates")
        more = network.parameters - NETWORKS[network.plain].parameters
        rows.append(
            {
                "network": network.words,
                "parameters": f"{network.parameters:,}",
                "more than the plain network": f"{more:+,}",
                "multiply-adds, millions": f"{network.multiply_adds / 1e6:,.1f}",
                "from ImageNet": f"all but the head{rest}" if network.pretrained else "nothing",
            }
        )
    return pd.DataFrame(rows)


def costs(study: Study) -> pd.DataFrame:
    """What attention costs: parameters, and minutes of a run, a row a network that has been run."""
    rows = []
    for network in present(study):
        runs = study.of(network)
        minutes = [run.environment["seconds"] / 60 for run in runs]
        rows.append(
            {
                "network": registry.network(network),
                "parameters": f"{NETWORKS[network].parameters:,}",
                "runs": len(runs),
                "minutes a run, median": formatting.number(float(np.median(minutes)), 1) if runs else "",
                "shortest to longest": f"{min(minutes):.1f} to {max(minutes):.1f}" if runs else "",
                "device": ", ".join(dict.fromkeys(run.environment["device"] for run in runs)),
            }
        )
    columns = ["network", "parameters", "runs", "minutes a run, median", "shortest to longest", "device"]
    return pd.DataFrame(rows, columns=columns)
