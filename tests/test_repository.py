"""What holds for the repository as a whole: imports point one way, versions agree, notebooks and pages are in order."""

import ast
import doctest
import json
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import nbformat
import pandas as pd
import pytest
import yaml

import arlrepro
import setup_venv
from arlrepro import storage
from arlrepro.book import model_card, notebooks, pages
from arlrepro.book.figures import diagram
from arlrepro.runs.archive import read_run
from arlrepro.runs.predict import find_run
from arlrepro.storage import MANIFEST

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REUSE = sorted((ROOT / "notebooks" / notebooks.REUSE).glob("*.ipynb"))
PAGES = sorted((ROOT / "book").glob("*/*.ipynb"))
PROSE = [*sorted((ROOT / "book").rglob("*.md")), *NOTEBOOKS, *REUSE]

#: Every module of the library, as in `data.isic`.
MODULES = [
    ".".join(path.relative_to(ROOT / "arlrepro").with_suffix("").parts)
    for path in sorted((ROOT / "arlrepro").rglob("*.py"))
    if path.stem not in ("__init__", "__main__")
]
#: What trains, predicts or opens a network; all else is read by those who have results and no torch.
WITH_TORCH = {
    *(
        name
        for name in MODULES
        if name.split(".")[0] in ("models", "training", "attention") and name != "attention.overlay"
    ),
    *("data.patches", "runs.measures", "timm"),
}
#: Decimals that are names of versions, licences and the like, not results.
NAMES_WITH_DECIMALS = re.compile(r"Python 3\.\d+|CC[ -]BY[\w-]* \d\.\d|10\.\d{4,}/\S+|https?://\S+|version \d[\d.]*")


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines) -> dict[str, str]:
    """Versions by package of lines like `numpy==2.4.6`; other lines are left out."""
    pairs = (line.split("==") for line in lines if re.fullmatch(r"[\w.-]+==[\w.]+", line))
    return {canonical(name): version for name, version in pairs}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras: str) -> list[str]:
    """Names of the direct dependencies, those of these extras included."""
    optional = (line for extra in extras for line in project()["optional-dependencies"][extra])
    return [canonical(re.match(r"[\w.-]+", line).group()) for line in (*project()["dependencies"], *optional)]


def prose(path: Path) -> str:
    """The text of a Markdown page or of a notebook's Markdown cells, without code, mathematics, roles and links."""
    if path.suffix == ".ipynb":
        text = "\n\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf8")
    for aside in (r"(?ms)^(```+|:::+|~~~+).*?^\1", r"(?s)\$\$.*?\$\$", r"\$[^$\n]*\$", r"`[^`]*`", r"\]\([^)]*\)"):
        text = re.sub(aside, " ", text)
    return NAMES_WITH_DECIMALS.sub(" ", text)


# Modules


def test_imports_point_one_way():
    checked = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_no_two_modules_need_each_other():
    graph = grimp.build_graph("arlrepro", exclude_type_checking_imports=True)
    needs = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert set(TopologicalSorter(needs).static_order()) == graph.modules


def test_the_reference_has_every_module():
    reference = (ROOT / "book" / "api.md").read_text(encoding="utf8")
    assert sorted(re.findall(r"^```\{library\} ([\w.]+)$", reference, re.M)) == MODULES


def test_the_readme_has_every_package():
    packages = {path.parent.name for path in (ROOT / "arlrepro").glob("*/__init__.py")}
    assert set(re.findall(r"^\| \[`(\w+)`\]", (ROOT / "README.md").read_text(encoding="utf8"), re.M)) == packages


def loaded_by(code: str) -> set[str]:
    """Names of the modules that are loaded after some code ran in a process of its own."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_package_itself_loads_nothing():
    assert not {"torch", "numpy", "pandas", "arlrepro.models"} & loaded_by("import arlrepro")


def test_the_front_door_offers_what_it_names():
    assert arlrepro.create_model is arlrepro.models.create
    assert [name for name in arlrepro.__all__ if not callable(getattr(arlrepro, name))] == []
    with pytest.raises(AttributeError, match=r"^module 'arlrepro' has no attribute 'nothing'$"):
        arlrepro.__getattr__("nothing")


def test_reading_results_needs_no_torch():
    needed = loaded_by(f"import {', '.join(f'arlrepro.{name}' for name in MODULES if name not in WITH_TORCH)}")
    assert "torch" not in needed


# Versions


def test_constraints_hold_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and not pins([line])] == []


def test_every_direct_dependency_is_pinned():
    assert set(requirements("book", "test")) <= set(pins((ROOT / "constraints.txt").read_text().splitlines()))


def test_conda_gives_the_versions_of_the_constraints():
    *_, packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    constraints = pins((ROOT / "constraints.txt").read_text().splitlines())
    assert pins(packages["pip"]) == {name: constraints[name] for name in requirements("book", "test")}


def test_binder_installs_what_pages_need_and_no_torch():
    commands = (ROOT / ".binder" / "postBuild").read_text().replace("\\\n", " ")
    (packages,) = re.findall(r"-c constraints.txt (.*)", commands)
    heavy = {"torch", "torchvision", "lightning-fabric", "timm", "safetensors", "captum", "jupyter-book"}
    assert {canonical(name) for name in packages.split()} == set(requirements("book")) - heavy


def test_set_up_takes_the_pythons_that_the_project_declares():
    (_, oldest), (_, newest) = setup_venv.OLDEST, setup_venv.NEWEST
    assert project()["requires-python"] == f">=3.{oldest},<3.{newest + 1}"


# Set-up's messages


def test_set_up_says_which_python_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(setup_venv, "usable", lambda python: False)
    monkeypatch.setattr(sys, "version", "3.8.18 (default)")
    with pytest.raises(SystemExit) as caught:
        setup_venv.find_python()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "set-up: needs Python 3.11 to 3.13; this one is 3.8.18, and none of python3.13, python3.12, python3.11 runs. "
        "Install one of them, or name it: make PYTHON=/path/to/python3.11 ...\n"
    )


def test_set_up_says_how_much_room_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(setup_venv, "NEEDED_GB", 10**9)
    monkeypatch.setattr(setup_venv, "ROOT", Path("/"))
    with pytest.raises(SystemExit) as caught:
        setup_venv.check_disk()
    assert caught.value.code == 2
    assert re.fullmatch(
        r"set-up: the packages need about 1000000000 GB; / has [\d.]+ GB free. Make room and run it again.\n",
        capsys.readouterr().err,
    )


def test_set_up_says_that_no_index_answers(monkeypatch, capsys):
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setattr(setup_venv, "PIP", [sys.executable, "-m", "pip", "--disable-pip-version-check"])
    with pytest.raises(SystemExit) as caught:
        setup_venv.check_index()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "set-up: no package index answers; pip says: ERROR: No matching distribution found for setuptools>=77. "
        "Check the network and any proxy (HTTPS_PROXY), or name a mirror (PIP_INDEX_URL).\n"
    )


# Around the book


def documents() -> list[Path]:
    return sorted(ROOT.glob("*.md"))


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_document_links_to_files_that_are_there(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_a_document_names_commands_that_there_are(path):
    import typer

    from arlrepro.cli import app

    known = set(typer.main.get_command(app).commands)
    assert set(re.findall(r"^(?:\.venv/bin/)?arlrepro (\w+)", path.read_text(encoding="utf8"), re.M)) <= known


def test_the_readme_has_a_picture_of_the_site_and_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert (ROOT / picture).stat().st_size < 200_000
    assert re.findall(r"^make (\w+)", readme, re.M)[:2] == ["book", "test"]


def test_the_citation_names_the_paper_and_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    (paper,) = citation["references"]
    assert f"https://doi.org/{paper['doi']}" in (ROOT / "README.md").read_text(encoding="utf8")
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]


def test_the_workflow_builds_the_site_strictly_and_publishes_what_it_built():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())["jobs"]
    steps = jobs["build"]["steps"]
    (build,) = [step for step in steps if step.get("run", "").startswith("jupyter-book")]
    assert build["run"] == "jupyter-book build book/ -W -n --keep-going --all"
    assert list(build["env"]) == ["ARLREPRO_REPOSITORY"]
    assert [step["with"]["path"] for step in steps if "upload-pages" in step.get("uses", "")] == ["_build/html"]
    assert set(jobs["publish"]["needs"]) == {"build", "test"}


# The book


def test_the_root_configuration_is_the_only_one():
    assert (ROOT / "_config.yml").is_file()
    assert not (ROOT / "book" / "_config.yml").exists()


def test_every_chapter_of_the_table_of_contents_exists_and_every_page_is_a_chapter():
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    assert "chapters" not in toc, "chapters stand in parts: `make book` adds one"
    named = set(re.findall(r"(?:file|root)'?: '?([\w/.-]+)", str(toc)))
    there = {str(path.relative_to(ROOT / "book").with_suffix("")) for path in [*PROSE, *PAGES] if "book" in path.parts}
    assert named == {name for name in there if not name.startswith("..")}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_numbers_in_prose_are_quoted_from_results_not_typed(path):
    assert re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\w)", prose(path)) == []


def test_the_worked_example_of_the_method_page_comes_out_as_it_is_written():
    failed, tried = doctest.testfile(str(ROOT / "book" / "method.md"), module_relative=False)
    assert failed == 0 and tried > 5


# Notebooks and their pages


@pytest.mark.parametrize("path", [*NOTEBOOKS, *REUSE], ids=lambda path: path.name)
def test_a_notebook_is_source_only_and_defines_nothing(path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert re.fullmatch(r"\d\d_\w+\.ipynb", path.name)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), "cells have ids since 4.5"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].source.startswith("# ")
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    defined = [node for cell in code for node in ast.walk(ast.parse(cell.source)) if hasattr(node, "decorator_list")]
    assert not defined, "a notebook defines no function and no class: it calls arlrepro's"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_opens_with_its_finding_and_ends_with_what_follows(path):
    cells = nbformat.read(path, 4).cells
    first = next(cell for cell in cells[1:] if cell.cell_type == "code" and "parameters" not in cell.metadata["tags"])
    assert re.search(r"\nfinding$|\nfront\.abstract\(", first.source)
    assert cells[-2].source == "## What follows"
    assert re.match(r"finding\.follows$|front\.follows\(", cells[-1].source)


@pytest.mark.parametrize(
    "path",
    [*NOTEBOOKS, *REUSE, *sorted((ROOT / "book").glob("*.md"))],
    ids=lambda path: f"{path.parent.name}-{path.name}",
)
def test_a_title_is_a_noun_that_can_be_scanned(path):
    first = nbformat.read(path, 4).cells[0].source if path.suffix == ".ipynb" else path.read_text(encoding="utf8")
    title = first.splitlines()[0]
    assert title.startswith("# ") and not title.endswith("?") and len(title) <= 50


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_figure_of_a_notebook_has_a_caption_and_an_alternative_text(path):
    for cell in nbformat.read(path, 4).cells:
        shown = cell.metadata.get("mystnb", {})
        if "figure" in shown:
            assert len(shown["figure"]["caption"]) > 40 and shown["image"]["alt"]
            assert shown["figure"]["name"].endswith("-@@profile@@"), "two experiments have a figure each"


#: Words of the first pages and what the field says in their place.
OWN_WORDS = re.compile(
    r"drawn lesion|photograph|look-alike|false alarm|share of|taken out|the knob|stand in two splits",
    re.I,
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_use_the_words_of_the_field(path):
    cells = nbformat.read(path, 4).cells
    captions = [cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "") for cell in cells]
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert OWN_WORDS.findall("\n".join([*prose, *captions])) == []


def test_the_library_and_its_pages_use_the_words_of_the_field():
    """But for the renderer of synthetic images, which does take a photograph, and whose text stands in a hash."""
    own = re.compile(r"drawn (lesion|image)|photograph|look.?alike|false alarm|taken out|stand in two splits", re.I)
    texts = [*(ROOT / "arlrepro").rglob("*.py"), *(ROOT / "book").glob("*.md"), ROOT / "README.md"]
    found = {path: own.findall(path.read_text(encoding="utf8")) for path in texts if path.parent.name != "synthetic"}
    assert {path: words for path, words in found.items() if words} == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_takes_a_profile_and_data(path):
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    parameters = [cell.source for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert [ast.unparse(line) for source in parameters for line in ast.parse(source).body] == [
        "profile = 'smoke'",
        "data = ''",
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_committed_page_is_clean_and_runs_the_code_of_its_notebook(path):
    assert pages.faults(path) == []
    assert b"papermill" not in path.read_bytes()
    folder = notebooks.REUSE if path.parent.name == notebooks.REUSE else ""
    source = nbformat.read(ROOT / "notebooks" / folder / path.name, 4)
    page = [cell for cell in nbformat.read(path, 4).cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    there = [cell.source for cell in page if cell.cell_type == "code"]
    wanted = iter(cell.source for cell in source.cells if cell.cell_type == "code")
    assert all(one in wanted for one in there), "in the notebook's order, without the sections that show nothing"


def test_the_leading_profile_has_a_page_for_every_notebook_and_the_others_those_of_the_contents():
    there: dict[str, list[str]] = {}
    for path in PAGES:
        there.setdefault(path.parent.name, []).append(path.stem)
    assert there.pop(notebooks.REUSE) == [path.stem for path in REUSE]
    assert there[pages.leading()] == [path.stem for path in NOTEBOOKS]
    assert there == {folder: sorted(pages.chapters(folder)) for folder in there}


def test_the_drawing_of_the_block_is_the_one_its_code_makes():
    assert (ROOT / diagram.DIAGRAM).read_text(encoding="utf8") == diagram.arl_block()


def test_the_page_of_the_runs_lists_the_whole_archive_with_all_its_files():
    page = (ROOT / "book" / pages.leading() / "12_runs.ipynb").read_text(encoding="utf8")
    runs = [path.parent for path in (ROOT / "results").glob("*/*/config.yaml")]
    assert runs
    for folder in runs:
        assert f'data-name=\\"{folder.name}\\"' in page, folder.name
        for file in (one for one in folder.iterdir() if one.name != MANIFEST):
            assert f"../results/{folder.parent.name}/{folder.name}/{file.name}" in page, file


def test_archived_results_are_small_text():
    files = [path for path in (ROOT / "results").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [
        path for path in files if path.suffix not in {".csv", ".json", ".yaml", ".md"} and path.name != MANIFEST
    ] == []
    assert [path for path in files if path.stat().st_size > 1_000_000] == []
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())


def test_every_archived_run_carries_a_manifest_and_every_file_of_it_is_what_it_says():
    for folder in (path.parent for path in (ROOT / "results").glob("*/*/config.yaml")):
        sums = storage.read_sums(folder)
        assert set(sums) == {file.name for file in folder.iterdir()} - {MANIFEST}, folder
        for name in sums:
            storage.read_checked(folder / name, sums)


def test_every_archived_run_of_the_challenges_images_scores_the_lesions_that_the_archive_lists():
    listed = pd.read_csv(ROOT / "results" / "lesions-f3b7df819ebf.csv")
    assert listed["split"].value_counts().to_dict() == {"test": 600, "validation": 150}  # Codella et al. 2018
    assert listed.groupby("split")[["melanoma_label", "seborrheic_keratosis_label"]].sum().to_numpy().tolist() == [
        [117, 90],
        [30, 42],
    ]


@pytest.mark.parametrize(
    ("profile_name", "network"),
    [
        ("isic2017-256-imagenet", "ARL-CNN50"),
        ("isic2017-256-lite0", "ARL-EfficientNet-Lite0"),
        ("isic2017-256", "ARL-CNN14"),
    ],
)
def test_the_readme_shows_the_verdicts_and_aucs_of_every_study_in_the_archive(profile_name, network):
    answer = subprocess.run(
        [sys.executable, "-m", "arlrepro", "results", "--profile", profile_name, "--markdown"],
        capture_output=True,
        text=True,
    )
    assert answer.stdout in (ROOT / "README.md").read_text(encoding="utf8")
    assert network in answer.stdout


def test_weights_in_the_repository_are_whole_of_archived_runs_with_their_cards_and_predict_takes_one_by_default():
    folder, sums = ROOT / "weights", storage.read_sums(ROOT / "weights")
    committed = {path.stem for path in folder.glob("*.safetensors")}
    assert committed == {Path(name).stem for name in sums} == {path.stem for path in folder.glob("*.md")}
    for name in sums:
        storage.read_checked(folder / name, sums)
    for run_id in committed:
        (config,) = (ROOT / "results").glob(f"*/{run_id}/config.yaml")
        card = (folder / f"{run_id}.md").read_text(encoding="utf8")
        assert card == model_card.as_markdown(read_run(config.parent)), run_id
    assert find_run().id in committed
