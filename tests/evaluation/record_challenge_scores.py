"""Ask the challenge's own scorer for its figures and keep its answers in challenge_scores.json.

It needs pandas before 3, so an environment of its own:

    python -m venv /tmp/scorer && /tmp/scorer/bin/pip install isic-challenge-scoring==5.6.0 "pandas<3"
    /tmp/scorer/bin/python tests/evaluation/record_challenge_scores.py
"""

import io
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

CLASSES = ["melanoma", "seborrheic_keratosis"]
ANSWERS = Path(__file__).with_name("challenge_scores.json")


def make_cases() -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Truth and scores: many lesions, few, with ties, with scores of exactly 0.5, ranked perfectly."""
    rng = np.random.default_rng(2017)

    def draw(counts: tuple[int, int, int], separation: float, decimals: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        kinds = rng.permutation(np.repeat([0, 1, 2], counts))
        truth = np.stack([kinds == 0, kinds == 1], axis=1).astype(float)
        logits = rng.normal(size=truth.shape) + separation * truth - 1
        ids = pd.Index([f"ISIC_{i:07d}" for i in range(len(kinds))], name="image")
        return tuple(
            pd.DataFrame(values, index=ids, columns=CLASSES)
            for values in (truth, (1 / (1 + np.exp(-logits))).round(decimals))
        )

    return {
        "as many as the test set": draw((117, 90, 393), 1.6, 3),
        "few": draw((7, 5, 18), 1.0, 4),
        "ties, some at one half": draw((20, 15, 45), 1.5, 1),
        "ranked perfectly": draw((8, 8, 24), 30.0, 6),
    }


def main() -> None:
    """Score every case and write inputs and answers."""
    from isic_challenge_scoring.classification import ClassificationMetric, ClassificationScore

    recorded = {}
    for name, (truth, scores) in make_cases().items():
        files = [io.StringIO(table.to_csv()) for table in (truth, scores)]
        answer = ClassificationScore.from_stream(*files, ClassificationMetric.AUC)
        recorded[name] = {
            category: {
                "labels": truth[category].astype(int).tolist(),
                "scores": scores[category].tolist(),
                "answers": answer.per_category.loc[category].to_dict(),
            }
            for category in CLASSES
        }
    scorer = f"isic-challenge-scoring {version('isic-challenge-scoring')}"
    ANSWERS.write_text(json.dumps({"scorer": scorer, "cases": recorded}) + "\n")


if __name__ == "__main__":
    main()
