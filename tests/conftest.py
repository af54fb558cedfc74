"""What several test modules share: a handful of lesions, a short experiment on them, and a browser."""

import shutil

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


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, or none and a word."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium on the PATH: on Debian, apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()
