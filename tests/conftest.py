"""What several test modules share: a handful of lesions, and a short experiment on them."""

import pytest
from shorts import made_lesions, short_experiment

from arlrepro.config import Experiment
from arlrepro.predict import Lesions


@pytest.fixture(scope="session")
def training() -> Lesions:
    return made_lesions(24, seed=1)


@pytest.fixture(scope="session")
def validation() -> Lesions:
    return made_lesions(12, seed=2)


@pytest.fixture(scope="session")
def short() -> Experiment:
    return short_experiment()
