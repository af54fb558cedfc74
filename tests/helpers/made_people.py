"""People made from nothing, for the tests of what age and sex tell."""

import numpy as np
import pandas as pd


def drawn_people(count: int = 120) -> pd.DataFrame:
    """Patients of whom only the old have melanoma and only women seborrheic keratosis; the last third validates."""
    age, is_woman = np.resize([30.0, 40.0, 60.0, 70.0], count), np.arange(count) // 4 % 2 == 0
    return pd.DataFrame(
        {
            "split": np.where(np.arange(count) < count * 2 // 3, "training", "validation"),
            "age": age,
            "sex": np.where(is_woman, "female", "male"),
            "melanoma": (age > 50).astype(int),
            "seborrheic_keratosis": (is_woman & (age < 50)).astype(int),
        },
        index=[f"MADE_{n:03d}" for n in range(count)],
    )
