"""What several test modules share: a handful of lesions, a short experiment on them, made archives, and a browser."""

import shutil

import pytest

from arlrepro.config import Experiment
from arlrepro.data.patches import Lesions
from arlrepro.profiles import ISIC2017_256_ABLATION, ISIC2017_256_NETWORKS
from arlrepro.runs.archive import write_run
from helpers.made_runs import made_run, scores
from helpers.short_experiment import made_lesions, short_experiment


@pytest.fixture(scope="session")
def training() -> Lesions:
    return made_lesions(24, seed=1)


@pytest.fixture(scope="session")
def validation() -> Lesions:
    return made_lesions(12, seed=2)


@pytest.fixture(scope="session")
def short() -> Experiment:
    return short_experiment()


@pytest.fixture
def companion_archive(tmp_path, monkeypatch):
    """An archive with two seeds of the mask over channels, one of the sigmoid, and one of squeeze-and-excitation."""
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    channels, sigmoid, *_ = ISIC2017_256_ABLATION.experiments()
    squeeze, *_ = ISIC2017_256_NETWORKS.experiments()
    for profile, experiment, seed, gain in (
        (ISIC2017_256_ABLATION, channels, 0, 0.3),
        (ISIC2017_256_ABLATION, channels, 1, 0.3),
        (ISIC2017_256_ABLATION, sigmoid, 0, 0.1),
        (ISIC2017_256_NETWORKS, squeeze, 0, 0.3),
    ):
        run = made_run(experiment, seed, scores(gain, seed))
        folder = tmp_path / "results" / profile.name / run.id
        folder.mkdir(parents=True)
        write_run(run, folder)


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
