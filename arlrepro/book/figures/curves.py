"""Results as figures, one colour a network: verdicts, ROC and precision-recall, training, reliability, net benefit.

Transparent, readable on light, dark and paper.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn import metrics as sklearn_metrics

from arlrepro import registry
from arlrepro.book.figures.style import INK, Drawn, canvas, mean_and_range, mean_curve, no_runs
from arlrepro.book.tables.calibration import scored_splits
from arlrepro.evaluation import calibration
from arlrepro.evaluation.power import correlation_of_areas, detectable_difference
from arlrepro.paper.claims import Verdict
from arlrepro.paper.published import LESIONS, POSITIVES, published_effect, published_gain
from arlrepro.registry import AUCS, CLASSES, COLOURS, PAIR, SPLITS, TASK_COLOURS
from arlrepro.runs import estimates
from arlrepro.runs.archive import Run
from arlrepro.runs.study import Study, partners, present, scored, shared_runs


def forest(verdicts: Sequence[Verdict], studies: Sequence[Study]) -> Figure:
    """The differences of AUCs: the published one (diamond), ours (dot; line: 95 % interval; ticks: seeds), the verdict.

    Args:
        verdicts: of the claims; a difference that decides one has its verdict beside it.
        studies: whose first pair is shown, one below the other.
    """
    pairs = [(study, partners(study)[0]) for study in studies if partners(study)]
    lines = len(pairs) * len(AUCS)
    with canvas(width=7.6, height=1.1 + 0.36 * (lines + 1.6 * len(pairs))) as (figure, axes):
        axis, place, ticks = axes[0, 0], 0.0, {}
        for study, (base, other) in pairs:
            place += 0.8
            ticks[place] = f"{registry.network(other)} minus {registry.network(base)}"
            for quantity in AUCS:
                place += 1
                ticks[place] = registry.QUANTITIES[quantity]
                _forest_line(axis, place, study, (base, other), quantity)
                own = [one for one in verdicts if _decides(one, study, quantity)]
                said = own[0].shown if own else ""
                axis.text(1.02, place, said, transform=axis.get_yaxis_transform(), va="center")
            place += 0.8
        axis.axvline(0, color=INK, lw=1)
        axis.set_yticks(list(ticks), list(ticks.values()))
        for tick in axis.get_yticklabels():
            tick.set_weight("bold" if " minus " in tick.get_text() else "normal")
        axis.tick_params(axis="y", length=0)
        axis.set(xlabel="difference of test AUCs", ylim=(place - 0.2, 0))
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.08)
        handles = [
            axis.plot([], [], "D", ms=6, mfc="none", mec=INK, label="published, 50 layers")[0],
            axis.errorbar([], [], xerr=[], fmt="o", ms=6, color=INK, label="ours, 95 % interval"),
            axis.plot([], [], "|", ms=7, color=INK, alpha=0.6, label="one seed")[0],
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _decides(one: Verdict, study: Study, quantity: str) -> bool:
    claim = one.claim
    return claim.profile == study.profile.name and claim.quantity == quantity and len(claim.networks) == 2


def _forest_line(axis: Axes, place: float, study: Study, pair: tuple[str, str], quantity: str) -> None:
    colour, published = COLOURS[pair[1]], published_effect(PAIR, quantity)
    words = registry.QUANTITIES[quantity]
    if published is not None:
        axis.plot(published, place, "D", ms=6, mfc="none", mec=INK, label=f"published, {words}")
    if not (found := estimates.known(estimates.difference, study, pair, quantity)):
        return
    apart = [_auc(second, quantity) - _auc(first, quantity) for first, second in study.pairs(*pair)]
    axis.plot(apart, [place + 0.22] * len(apart), "|", ms=6, color=colour, alpha=0.6, label=f"one seed, {words}")
    if len(found.seeds) >= estimates.FEWEST_SEEDS:
        ends = found.estimate.low, found.estimate.high
        axis.plot(
            ends,
            (place, place),
            color=colour,
            lw=2.2,
            solid_capstyle="butt",
            label=f"ours, end of the interval, {words}",
        )
    axis.plot(found.estimate.value, place, "o", ms=7, color=colour, label=f"ours, {words}")


def _auc(run: Run, quantity: str) -> float:
    """A test AUC of a joint run; NaN where it does not score the class."""
    metrics = run.metrics["test"]
    if quantity == "mean_auc":
        return float(metrics.get("mean_auc", np.nan))
    return float(metrics.get(quantity.partition(".")[0], {}).get("auc", np.nan))


def seeds(study: Study) -> Drawn:
    """The test AUCs of each seed, the networks of one seed joined by a line: the noise of training."""
    if not any(len(study.of(network)) > 1 for network in present(study)):
        return no_runs(study, " of a second seed")
    rows = [
        {"network": registry.network(run.network), "seed": run.seed, "AUC": _auc(run, quantity), "quantity": quantity}
        for network in present(study)
        for run in study.of(network)
        for quantity in AUCS
    ]
    table = pd.DataFrame(rows)
    colours = {registry.network(network): COLOURS[network] for network in present(study)}
    with canvas(1, len(AUCS), width=8.4, height=3.3) as (figure, axes):
        for axis, (quantity, of_quantity) in zip(axes[0], table.groupby("quantity", sort=False), strict=True):
            shared: dict[str, Any] = {"data": of_quantity, "x": "network", "y": "AUC", "ax": axis, "legend": False}
            sns.lineplot(**shared, units="seed", estimator=None, color=INK, lw=0.7, alpha=0.5)
            sns.stripplot(**shared, hue="network", palette=colours, jitter=False, size=6)
            axis.set(title=registry.QUANTITIES[str(quantity)], xlabel="", ylabel="")
            axis.set_xticks(range(len(colours)), [textwrap.fill(name, 13) for name in colours])
            axis.margins(x=0.25)
        axes[0, 0].set_ylabel("test AUC")
    return figure


def roc(study: Study) -> Drawn:
    """ROC curves: sensitivity at each false-positive rate, for every network: mean and range over seeds.

    The dot is where the threshold of 0.5 lies (mean over seeds).
    """
    if not present(study):
        return no_runs(study)
    with canvas(1, len(CLASSES), width=7.2, height=3.7, sharey=True) as (figure, axes):
        rates = np.linspace(0, 1, 201)
        for axis, task in zip(axes[0], CLASSES, strict=True):
            axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
            for network in present(study):
                chosen = shared_runs(study, [network], [task])
                truth, scores = scored(chosen, [task])
                curves = []
                for one in scores[network][:, 0]:
                    false_rate, true_rate, _ = sklearn_metrics.roc_curve(truth[0], one, drop_intermediate=False)
                    curves.append(np.interp(rates, false_rate, true_rate))
                found = estimates.metric(study, network, f"{task}.auc").estimate
                mean_and_range(axis, rates, curves, network, f"{registry.network(network)}  {found.text()}")
                called = scores[network][:, 0] > 0.5
                at_half = called[:, ~truth[0]].mean(), called[:, truth[0]].mean()
                axis.plot(*at_half, "o", ms=6, color=COLOURS[network], clip_on=False)
            axis.set(
                title=registry.TASK_WORDS[task],
                xlabel="false-positive rate (1 - specificity)",
                xlim=(0, 1),
                ylim=(0, 1),
            )
            axis.set_aspect("equal")
            axis.legend(loc="lower right", title="AUC [95 % CI]", title_fontsize=9)
        axes[0, 0].set_ylabel("sensitivity")
    return figure


def training_curves(study: Study) -> Drawn:
    """How training went: loss and validation AUCs by epoch; a thin line a run, a thick one the mean over seeds."""
    if not present(study):
        return no_runs(study)
    panels = {"training_loss": "training loss (binary cross-entropy)"} | {
        f"validation_auc_{task}": f"validation AUC, {registry.TASK_WORDS[task]}" for task in CLASSES
    }
    with canvas(1, 3, width=9.0, height=3.2) as (figure, axes):
        for axis, (column, title) in zip(axes[0], panels.items(), strict=True):
            for network in present(study):
                runs = [run.history.set_index("epoch")[column] for run in study.of(network) if column in run.history]
                looked = [history.dropna() for history in runs]  # validation is not looked at in every epoch
                mean_curve(axis, looked, COLOURS[network], registry.network(network))
            axis.set(title=title, xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0, 0].legend()
    return figure


def precision_recall(study: Study) -> Drawn:
    """PPV at each sensitivity: mean and range over seeds."""
    if not present(study):
        return no_runs(study)
    with canvas(1, len(CLASSES), width=7.2, height=3.6, sharey=True) as (figure, axes):
        recalls = np.linspace(0, 1, 201)
        for axis, task in zip(axes[0], CLASSES, strict=True):
            for network in present(study):
                truth, scores = scored(shared_runs(study, [network], [task]), [task])
                curves, areas = [], []
                for one in scores[network][:, 0]:
                    precision, recall, _ = sklearn_metrics.precision_recall_curve(truth[0], one)
                    curves.append(np.interp(recalls, recall[::-1], precision[::-1]))
                    areas.append(sklearn_metrics.average_precision_score(truth[0], one))
                mean_and_range(axis, recalls, curves, network, f"{registry.network(network)}  {np.mean(areas):.3f}")
                axis.axhline(truth[0].mean(), color=INK, lw=0.8, ls=":")
            axis.set(title=registry.TASK_WORDS[task], xlabel="sensitivity (recall)", xlim=(0, 1), ylim=(0, 1.02))
            axis.legend(loc="upper right", title="average precision", title_fontsize=9)
        axes[0, 0].set_ylabel("PPV (precision)")
    return figure


def detectable() -> Figure:
    """What can the test set show? The smallest difference of AUCs found at 80 % power, before any result.

    Left: against the correlation of the two AUC estimates, for the 600 test lesions and for all 2,750 lesions, each
    scored once in cross-validation; level lines: the paper's differences. Right: that correlation from the scores'.
    """
    with canvas(1, 2, width=9.0, height=3.9) as (figure, axes):
        left, right = axes[0]
        correlations = np.linspace(0, 0.98, 50)
        for task, colour in TASK_COLOURS.items():
            gain = published_gain(f"{task}.auc")
            assert gain is not None
            in_test = POSITIVES["test"][task], LESIONS["test"]
            everywhere = sum(POSITIVES[split][task] for split in SPLITS), sum(LESIONS.values())
            for style, (positives, lesions) in {"-": in_test, "--": everywhere}.items():
                smallest = [
                    detectable_difference(gain.before, positives, lesions - positives, one) for one in correlations
                ]
                label = f"{registry.TASK_WORDS[task]}, {lesions:,} lesions"
                left.plot(correlations, smallest, style, color=colour, label=label)
            left.axhline(gain.value, color=colour, lw=1, ls=":")
            left.text(
                0.0, gain.value, f"the paper's, {registry.TASK_WORDS[task]}", color=colour, va="bottom", fontsize=8
            )
            positives, lesions = in_test
            of_areas = [
                correlation_of_areas(gain.before, gain.after, positives, lesions - positives, one)
                for one in correlations
            ]
            right.plot(correlations, of_areas, color=colour, label=registry.TASK_WORDS[task])
        left.set(title="smallest difference found at 80 % power", xlabel="correlation of the two AUC estimates")
        left.set_ylim(0, None)
        left.legend(fontsize=8)
        right.set(title="correlation of the AUC estimates", xlabel="correlation of the scores within a class")
        right.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
        right.legend()
    return figure


def reliability(study: Study) -> Drawn:
    """Does a score of 0.3 mean three of ten? Mean score and share diseased by tenths of the lesions; dashed: scaled.

    All seeds' scores of the test lesions together; temperatures are fitted on validation, a seed at a time.
    """
    if not present(study):
        return no_runs(study)
    with canvas(1, len(CLASSES), width=7.2, height=3.7, sharey=True) as (figure, axes):
        for axis, task in zip(axes[0], CLASSES, strict=True):
            axis.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
            axis.set(title=registry.TASK_WORDS[task], xlabel="mean score", xlim=(0, 1), ylim=(0, 1))
            axis.set_aspect("equal")
        for network, task, (known, on_validation), (truth, on_test) in scored_splits(study):
            axis = axes[0, CLASSES.index(task)]
            temperatures = [calibration.fit_temperature(known, one) for one in on_validation]
            scaled = [calibration.with_temperature(one, t) for one, t in zip(on_test, temperatures, strict=True)]
            every = np.tile(truth, len(on_test))
            plain = calibration.reliability(every, np.concatenate(on_test))
            axis.plot(*plain, "o-", ms=4, color=COLOURS[network], label=registry.network(network))
            axis.plot(*calibration.reliability(every, np.concatenate(scaled)), "--", lw=1.2, color=COLOURS[network])
        axes[0, 0].set_ylabel("observed proportion")
        axes[0, 0].legend(loc="upper left", title="dashed: temperature-scaled", title_fontsize=9)
    return figure


def decision_curve(study: Study) -> Drawn:
    """Is a decision by the network worth it? Net benefit against treating all and none; temperature-scaled scores."""
    if not present(study):
        return no_runs(study)
    thresholds = np.linspace(0.01, 0.6, 60)
    with canvas(1, len(CLASSES), width=7.6, height=3.4) as (figure, axes):
        for network, task, (known, on_validation), (truth, on_test) in scored_splits(study):
            axis = axes[0, CLASSES.index(task)]
            curves = []
            for fitted, one in zip(on_validation, on_test, strict=True):
                scaled = calibration.with_temperature(one, calibration.fit_temperature(known, fitted))
                curves.append(calibration.net_benefit(truth, scaled, thresholds))
            mean_and_range(axis, thresholds, curves, network, registry.network(network))
            share = truth.mean()
            axis.plot(thresholds, share - (1 - share) * thresholds / (1 - thresholds), color=INK, lw=1, ls="--")
            axis.set_ylim(-0.25 * share, 1.1 * share)
        for axis, task in zip(axes[0], CLASSES, strict=True):
            axis.axhline(0, color=INK, lw=1)
            axis.set(title=registry.TASK_WORDS[task], xlabel="threshold probability")
        axes[0, 0].set_ylabel("net benefit (per lesion)")
        axes[0, 0].legend(title="dashed: treat all; level: none", title_fontsize=9)
    return figure
