"""Every run is listed with its files and with the command that gives the same run again."""

import re
import shlex
from dataclasses import replace

from bs4 import BeautifulSoup
from typer.testing import CliRunner

from arlrepro import cli
from arlrepro.book.tables import runs
from arlrepro.config import NetworkConfig, with_settings
from arlrepro.paths import RESULTS
from arlrepro.profiles import DEMO, ISIC2017_256, ISIC2017_256_IMAGENET, SMOKE
from arlrepro.runs import runner
from arlrepro.runs.archive import write_run
from arlrepro.runs.study import Study
from helpers.made_runs import made_study, small_run

GAINS = {"resnet14": 0.1, "arl_cnn14": 0.3}


def archived(tmp_path, monkeypatch, study: Study, profile_name: str) -> None:
    """Write a study's runs where an archive would have them."""
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    for run in study.runs:
        folder = tmp_path / RESULTS / profile_name / run.id
        folder.mkdir(parents=True)
        write_run(run, folder)


def test_the_command_of_a_run_asks_for_that_very_run(monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "train_or_load", lambda experiment, seed, *_, **__: asked.append((experiment, seed)))
    run = made_study(GAINS).runs[1]
    changed = replace(
        run,
        seed=3,
        experiment=with_settings(run.experiment, ["train.epochs=5", "patches.scales=[0.5]", "network.mask=sigmoid"]),
    )
    for one in (run, changed):
        program, *arguments = shlex.split(runs.command(one, "isic2017-256"))
        assert program == "arlrepro"
        CliRunner().invoke(cli.app, arguments)
    assert asked == [(run.experiment, run.seed), (changed.experiment, 3)]


def test_the_command_of_a_run_on_drawn_lesions_names_no_folder_of_images():
    run = made_study(GAINS).runs[0]
    drawn = replace(run, experiment=replace(DEMO.experiment, network=run.experiment.network))
    assert runs.command(drawn, "demo") == "arlrepro train --profile demo --network resnet14 --task joint --seed 0"


def test_the_main_study_lists_the_whole_archive_and_another_its_own_and_its_companions(tmp_path, monkeypatch):
    study = made_study(GAINS)
    archived(tmp_path, monkeypatch, Study(study.profile, study.runs[:2]), "isic2017-256-cv")
    archived(tmp_path, monkeypatch, Study(study.profile, study.runs[3:4]), "isic2017-256-imagenet")
    companions = {
        "isic2017-256": [study.runs[2].id],
        "isic2017-256-cv": sorted(run.id for run in study.runs[:2]),
    }

    def listed(study: Study) -> dict[str, list[str]]:
        return {name: [run.id for run in there] for name, there in runs.runs_of(study).items()}

    assert listed(Study(ISIC2017_256, study.runs[2:3])) == companions
    main = {"isic2017-256-imagenet": [study.runs[3].id], "isic2017-256-cv": companions["isic2017-256-cv"]}
    assert listed(Study(ISIC2017_256_IMAGENET, ())) == main


def test_the_name_of_a_folder_of_results_is_text_and_no_markup(tmp_path, monkeypatch):
    study = made_study(GAINS)
    archived(tmp_path, monkeypatch, Study(study.profile, study.runs[:1]), '<b id="x">')
    page = runs.sheets(Study(ISIC2017_256_IMAGENET, study.runs[2:3])).data
    assert '<b id="x">' not in page and page.count("&lt;b id=&quot;x&quot;&gt;") > 2


def test_a_sheet_links_to_every_file_of_its_run_and_to_no_other(tmp_path, monkeypatch):
    study = made_study(GAINS)
    archived(tmp_path, monkeypatch, study, study.profile.name)
    page = BeautifulSoup(runs.sheets(study).data, "html.parser")
    assert len(page.select("tbody[id^=run-]")) == len(study.runs)
    for run in study.runs:
        linked = {link["href"] for link in page.find(id=f"run-{run.id}").find_all("a")}
        folder = tmp_path / RESULTS / study.profile.name / run.id
        assert linked == {f"../{file.relative_to(tmp_path).as_posix()}" for file in folder.iterdir()}


def test_tables_find_a_sheet_by_the_name_of_its_network_or_run():
    named = re.findall(r'id="([^"]+)" data-name="([^"]+)"', runs.sheets(made_study(GAINS)).data)
    assert len({anchor for anchor, _ in named}) == len(named)
    assert {"ResNet-14", "ARL-CNN14", "ResNet-14, seed 0", "resnet14-joint-s0-53c72dba"} <= {name for _, name in named}


def test_a_study_without_runs_says_so():
    assert runs.sheets(Study(DEMO, ())).data == "<p>No completed runs yet.</p>"


def test_the_command_of_a_run_from_weights_of_another_family_names_them():
    lite0 = NetworkConfig("efficientnet_lite0", weights="imagenet-lite0")
    run = small_run(experiment=replace(SMOKE.experiment, network=lite0), network="arl_efficientnet_lite0")
    assert runs.command(run, "smoke") == (
        "arlrepro train --profile smoke --network arl_efficientnet_lite0 --task joint --seed 0 "
        "--set network.weights=imagenet-lite0"
    )
