"""What the book shows of the data: counts, drawn lesions for everybody, real ones for who has the data, by a rule."""

import json
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from arlrepro import baselines, beyond, crossvalidated, external, material, runs, signs, synthetic, words
from arlrepro.archive import RESULTS, Run, Study, read_study
from arlrepro.config import CLASSES, Experiment, classes_of
from arlrepro.errors import RunError
from arlrepro.intervals import Estimate, summary
from arlrepro.profiles import profile

#: An image uint8 (side, side, 3) and its lesion mask, bool (side, side).
Shown = tuple[np.ndarray, np.ndarray]


#: What `arlrepro data check --json` said of a profile's images, beside its archived runs.
DATA_REPORT = "data.json"
#: What `arlrepro baseline` scored and counted, beside the archived runs.
COLOUR, AGE_AND_SEX, SUBGROUPS = "colour.csv", "age-and-sex.csv", "subgroups.csv"


def composition(study: Study) -> pd.DataFrame:
    """Images of each split by kind, from the archived report of the data check, or counted for a drawn data set."""
    report = data_report(study)
    if report is not None:
        counts = pd.DataFrame.from_dict(report["counts"], orient="index")
    else:
        lesions = material.open_data(study.profile.experiment.data).lesions
        counts = lesions.groupby("split", sort=False)[list(CLASSES)].sum().astype(int)
        counts.insert(0, "images", lesions.groupby("split", sort=False).size())
        counts["neither"] = counts["images"] - counts[list(CLASSES)].sum(axis=1)
    shown = counts[["images", *CLASSES, "neither"]]
    return shown.rename_axis("split").rename(columns=lambda name: name.replace("_", " "))


def colour_baseline(study: Study) -> pd.DataFrame:
    """Test AUCs of a logistic regression on colour statistics, beside those of the study's runs.

    Its scores are archived beside the runs as `colour.csv`; of a drawn data set they are computed here.

    Returns:
        A row for it, where it is archived, and for each run; AUC of each task and their mean, with 95 % intervals over
        lesions.
    """
    path = runs.archived_folder(study.profile.name) / COLOUR
    rows = {}
    if path.is_file():
        rows["colour statistics, no network"] = summary(pd.read_csv(path))["test"]
    elif study.profile.experiment.data.source == "synthetic":
        dataset, images = material.open_images(study.profile.experiment)
        scores = baselines.score_by_colour(dataset.lesions, images.image_ids, images.pixels)
        rows["colour statistics, no network"] = summary(scores)["test"]
    rows |= {f"{words.network(run.network)}, seed {run.seed}": run.metrics["test"] for run in study.runs}
    return pd.DataFrame.from_dict({name: _aucs(figures) for name, figures in rows.items()}, orient="index")


def archive_beside(profile_name: str, data: str = "") -> list[Path]:
    """Write what stands beside a profile's archived runs, because it needs the images or who is on them.

    Scores by colour alone and by age and sex alone; and the figures of the archived runs by sex and age group, in
    cross-validation those of the lesions out of fold, else of the validation lesions. No age or sex itself is written.

    Returns:
        The files.
    """
    chosen = profile(profile_name)
    folder = runs.archived_folder(profile_name)
    study = read_study(chosen, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if chosen.experiment.data.folds:
        known = baselines.people(material.open_data(chosen.experiment.data, data).lesions)
        tables = {SUBGROUPS: beyond.subgroups(crossvalidated.out_of_fold(study), known, "test")}
    else:
        dataset, images = material.open_images(chosen.experiment, data)
        known = baselines.people(dataset.lesions)
        tables = {
            COLOUR: baselines.score_by_colour(dataset.lesions, images.image_ids, images.pixels),
            AGE_AND_SEX: baselines.score_by_age_and_sex(known) if len(known) else pd.DataFrame(),
            SUBGROUPS: beyond.subgroups(study, known),
        }
    written = {folder / name: table for name, table in tables.items() if len(table)}
    for path, table in written.items():
        table.to_csv(path, index=False, float_format="%.9g", lineterminator="\n")
    return list(written)


def subgroups(study: Study) -> pd.DataFrame:
    """The archived figures by sex and age group, or those of a drawn data set; no rows where there are none."""
    path = runs.archived_folder(study.profile.name) / SUBGROUPS
    if path.is_file():
        return beyond.subgroups_table(pd.read_csv(path))
    if study.profile.experiment.data.source != "synthetic":
        return pd.DataFrame()
    known = baselines.people(material.open_data(study.profile.experiment.data).lesions)
    return beyond.subgroups_table(beyond.subgroups(study, known))


def _scored_by_age_and_sex(study: Study) -> pd.DataFrame:
    path = runs.archived_folder(study.profile.name) / AGE_AND_SEX
    if path.is_file():
        return pd.read_csv(path)
    if study.profile.experiment.data.source != "synthetic":
        return pd.DataFrame()
    known = baselines.people(material.open_data(study.profile.experiment.data).lesions)
    return baselines.score_by_age_and_sex(known) if len(known) else pd.DataFrame()


def age_and_sex_baseline(study: Study) -> pd.DataFrame:
    """AUCs of a logistic regression on age and sex, out of fold on training and on validation, beside the study's runs.

    Returns:
        A row for each, all validation rows on the same lesions, those whose age and sex are known; no rows where they
        are known of none. AUC of each task and their mean, with 95 % intervals over lesions.
    """
    scores = _scored_by_age_and_sex(study)
    if scores.empty:
        return scores
    by_split = dict(list(scores.groupby("split")))
    rows = {("training, out of fold", "age and sex, no network"): by_split["training"]}
    if "validation" in by_split:
        colour = runs.archived_folder(study.profile.name) / COLOUR
        validation = {"age and sex, no network": by_split["validation"]}
        validation |= {"colour statistics, no network": pd.read_csv(colour)} if colour.is_file() else {}
        validation |= {f"{words.network(run.network)}, seed {run.seed}": run.predictions for run in study.runs}
        kept = by_split["validation"]["image_id"]
        rows |= {
            ("validation", name): one[(one["split"] == "validation") & one["image_id"].isin(kept)]
            for name, one in validation.items()
        }
    table = pd.DataFrame.from_dict(
        {key: {"lesions": len(one), **_aucs(summary(one)[one["split"].iloc[0]])} for key, one in rows.items()},
        orient="index",
    )
    table.index.names = ["lesions of", "scored by"]
    return table


def _aucs(figures: dict[str, Any]) -> dict[str, str]:
    """The AUC of each task and their mean, with their intervals, from what `intervals.summary` says of a split."""
    by_task = {f"AUC, {words.TASKS[one]}": _with_interval(figures.get(one, {}), "auc") for one in CLASSES}
    return {**by_task, "mean AUC": _with_interval(figures, "mean_auc")}


def _with_interval(figures: dict[str, Any], name: str) -> str:
    return words.with_interval(Estimate(figures[name], *figures[f"{name}_ci"])) if name in figures else ""


def look_alikes(study: Study) -> pd.DataFrame:
    """Pairs of images that stand in two splits, the same or look-alikes; no rows for a drawn data set.

    Returns:
        `image`, `split`, `other image`, `other split`, `pixels` (identical or alike), `correlation` in [-1, 1].
    """
    pairs = (data_report(study) or {"pairs": []})["pairs"]
    rows = [
        {
            "image": pair["first"],
            "split": pair["first_split"],
            "other image": pair["second"],
            "other split": pair["second_split"],
            "pixels": "identical" if pair["is_identical"] else "alike",
            "correlation": round(pair["correlation"], 3),
        }
        for pair in pairs
    ]
    return pd.DataFrame(rows, columns=["image", "split", "other image", "other split", "pixels", "correlation"])


def without_look_alikes(study: Study) -> Study:
    """The same runs, scored without the test lesions of which another split has the same picture or a look-alike."""
    pairs = look_alikes(study)
    twins = {
        *pairs.loc[pairs["split"] == "test", "image"],
        *pairs.loc[pairs["other split"] == "test", "other image"],
    }
    runs_without = [
        replace(run, predictions=run.predictions[~run.predictions["image_id"].isin(twins)]) for run in study.runs
    ]
    return replace(study, runs=tuple(runs_without))


def data_report(study: Study) -> dict[str, Any] | None:
    """The archived report of the data check, if this profile's images have one."""
    path = runs.archived_folder(study.profile.name) / DATA_REPORT
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else None


def drawn_lesions(experiment: Experiment) -> dict[str, synthetic.SyntheticLesion]:
    """The drawn lesions whose maps every run archives, at the side that its networks saw; ids are `<kind>-<seed>`."""
    side = experiment.data.side
    return {f"{kind}-{seed}": synthetic.draw_lesion(kind, seed, side) for kind, seed in material.GALLERY}


def each_sign(side: int = 192) -> dict[str, tuple[str, str, synthetic.SyntheticLesion, synthetic.SyntheticLesion]]:
    """One lesion for each dermoscopic sign, drawn without any sign and with that one alone.

    Rule: the kind in which the sign is most frequent, the first seed of it whose lesion shows the sign.

    Returns:
        By sign: the kind, what the sign is (the first sentence of the function that draws it), and both lesions.
    """
    found = {}
    for draw, frequencies in signs.SIGNS.items():
        name, kind = draw.__name__, synthetic.KINDS[int(np.argmax(frequencies))]
        for seed in count():
            lesion = synthetic.draw_lesion(kind, seed, side, signs=[name])
            if lesion.structures[name].any():
                break
        what = " ".join((draw.__doc__ or "").split())
        found[name] = (kind, what, synthetic.draw_lesion(kind, seed, side, signs=[]), lesion)
    return found


def outlined(lesions: dict[str, synthetic.SyntheticLesion]) -> dict[str, Shown]:
    """Image and lesion mask of each."""
    return {image_id: (lesion.image, lesion.lesion_mask) for image_id, lesion in lesions.items()}


def evaluation_patches(
    image: UInt8[np.ndarray, "side side 3"], study: Study
) -> tuple[Float[np.ndarray, "patches 3"], UInt8[np.ndarray, "patches patch patch 3"]]:
    """The patches that score a lesion, as the study's runs archived their places.

    Returns:
        A row (x, y, scale) a patch: its centre and side in fractions of the image's side; and its pixels.
    """
    where = study.runs[0].measures["patches"][["x", "y", "scale"]].to_numpy(dtype=np.float64)
    whole, patch = len(image), study.profile.experiment.patches.side
    corners = np.column_stack([where[:, :2] - where[:, 2:] / 2, where[:, :2] + where[:, 2:] / 2]) * whole
    picture = Image.fromarray(image)
    cut = [picture.resize((patch, patch), Image.Resampling.BILINEAR, box=tuple(box)) for box in corners.clip(0, whole)]
    return where, np.stack([np.asarray(one) for one in cut])


@dataclass(frozen=True)
class Looked:
    """Lesions with what networks made of them: what `pictures.activation_grid` draws."""

    lesions: dict[str, Shown]  # by id
    maps: dict[str, pd.DataFrame]  # by network, as `maps.maps_of` gives it
    scores: dict[str, pd.DataFrame]  # by network, image_id and a score for each class
    kinds: dict[str, str]  # of the lesions, by id


def hits_and_misses(run: Run, seed: int = 0, each: int = 1) -> dict[str, str]:
    """Test lesions of each kind that a run called rightly and wrongly, drawn at random.

    Rule: of each kind (melanoma, seborrheic keratosis, neither), `each` lesions at random by `seed` among the hits and
    as many among the misses, at a threshold of 0.5 (see `pictures.hit_or_miss`); where a kind has no hit or no miss,
    there is none.

    Returns:
        The kind by image id.
    """
    test, generator = run.of("test"), np.random.default_rng(seed)
    scores = test[list(classes_of(run.experiment.task))]
    found: dict[str, str] = {}
    for kind in (*CLASSES, "neither"):
        labels = test[[f"{one}_label" for one in CLASSES]].to_numpy().astype(bool)
        of_kind = labels[:, CLASSES.index(kind)] if kind in CLASSES else ~labels.any(axis=1)
        hit = scores[kind] > 0.5 if kind in scores else (scores <= 0.5).all(axis=1)
        for group in (test.index[of_kind & hit], test.index[of_kind & ~hit]):
            chosen = generator.choice(np.array(group, dtype=str), min(each, len(group)), replace=False)
            found |= dict.fromkeys(map(str, chosen), kind)
    return found


def real_lesions(study: Study, data: str, seed: int = 0) -> Looked:
    """Test lesions with each network's maps, for a site that is built beside the data.

    Rule: hits and misses of the profile's last network with the first seed; see `hits_and_misses`.

    Args:
        study: runs whose weights are here.
        data: folder in the official layout.
        seed: of the choice.
    """
    from arlrepro.maps import maps_of

    of_runs = {network: _with_weights(study, network, study.profile.seeds[0]) for network in study.profile.networks}
    kinds = hits_and_misses(of_runs[study.profile.networks[-1]], seed)
    bench = material.Bench.set_up(study.profile.experiment, data, "auto")
    row = {image_id: number for number, image_id in enumerate(bench.images.image_ids)}
    rows = np.array([row[one] for one in kinds])
    masks: Bool[np.ndarray, "lesions side side"] = (
        np.zeros((len(rows), bench.images.side, bench.images.side), dtype=bool)
        if bench.images.masks is None
        else bench.images.masks[rows]
    )
    lesions = {one: (bench.images.pixels[row[one]], mask) for one, mask in zip(kinds, masks, strict=True)}
    loaded = bench.at(rows)
    maps = {network: maps_of(runs.load_network(run), loaded, run.experiment) for network, run in of_runs.items()}
    scores = {network: run.predictions for network, run in of_runs.items()}
    return Looked(lesions, maps, scores, kinds)


def _with_weights(study: Study, network: str, seed: int) -> Run:
    """The live run of a network, whose folder has the weights."""
    experiment = next(one for one in study.profile.experiments() if one.network.name == network)
    folder: Path = runs.live_folder(study.profile.name) / experiment.run_id(seed)
    return runs.read_run(folder)


def _benchmark() -> dict[str, Any]:
    path = runs.root() / RESULTS / "benchmark.json"
    if not path.is_file():
        raise RunError(f"{path}: not there; `make bench` writes it")
    return json.loads(path.read_text(encoding="utf8"))


def benchmark_machine() -> str:
    """The machine of the archived benchmark, in a line."""
    machine = _benchmark()["machine"]
    units = "with" if machine["bfloat16_units"] else "without"
    return (
        f"Measured on {machine['device']}, {units} bfloat16 units, {machine['threads']} threads, "
        f"torch {machine['torch']}, {machine['batch_size']} patches a batch, medians of {machine['repeats']}."
    )


def benchmark() -> pd.DataFrame:
    """The archived benchmark: what was timed, how much a second, and the ratio of its time to another's."""
    rows = pd.DataFrame(_benchmark()["rows"])
    shown = pd.DataFrame(
        {
            "what": rows["what"],
            "precision": rows["precision"],
            "a second": [f"{value:.1f} {unit}" for value, unit in zip(rows["a second"], rows["unit"], strict=True)],
            "time over another's": [
                f"{ratio:.2f} x {other}" for ratio, other in zip(rows["ratio"], rows["ratio to"], strict=True)
            ],
        }
    )
    return shown.set_index(["what", "precision"])


def benchmark_memory() -> pd.DataFrame:
    """The archived benchmark's peak memory of a training, by the number of images, and what each further image adds."""
    rows = pd.DataFrame(_benchmark().get("memory", []), columns=["what", "MiB", "MiB an image more"])
    return rows.set_index("what").round({"MiB": 0, "MiB an image more": 2}).astype({"MiB": int})


def external_tests(study: Study) -> pd.DataFrame:
    """The archived external tests: AUC of each run on another data set and the paired differences; empty if not run.

    Returns:
        A row a data set, class, and run or difference: `AUC [95 % CI]` and, for a difference, `p`.
    """
    rows = {}
    for name, found in external.read(study.profile.name).items():
        for task, figures in found["classes"].items():
            where = (f"{name}, {found['lesions']} lesions", f"{words.TASKS[task]} ({figures['positives']})")
            for run, one in figures["runs"].items():
                rows[(*where, run)] = (words.with_interval(Estimate(one["auc"], *one["auc_ci"])), "")
            for pair, one in figures["differences"].items():
                rows[(*where, pair)] = (words.signed(Estimate(one["value"], *one["ci"])), words.p_value(one["p"]))
    index = pd.MultiIndex.from_tuples(list(rows), names=["data set", "class", "of"]) if rows else None
    return pd.DataFrame(list(rows.values()), index=index, columns=["AUC [95 % CI]", "p"])
