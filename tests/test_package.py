"""The package as others import and install it: cheap, complete, at work without its extras; it leaves theirs alone."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import grimp
import pytest

from arlrepro import registry

ROOT = Path(__file__).resolve().parent.parent
#: What only the extra `book` installs, or brings with it, as it is imported.
EXTRA = (
    "captum",
    "IPython",
    "ipykernel",
    "jupyter_book",
    "matplotlib",
    "mlscorecheck",
    "nbformat",
    "papermill",
    "seaborn",
)
#: Of these, what draws, shows and runs pages.
PAGES_ONLY = ("IPython", "ipykernel", "jupyter_book", "matplotlib", "nbformat", "papermill", "seaborn")


def run(
    code: str, *arguments: object, python: Path | str = sys.executable, here: Path = ROOT, **environment: str
) -> str:
    """What some code prints in a process of its own, which finds what lies in the folder where it runs first."""
    command = [python, "-c", code, *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=here, env={**os.environ, **environment})
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def modules() -> list[str]:
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "arlrepro").rglob("*.py")
    )


def external() -> dict[str, set[str]]:
    """The modules that import each package from elsewhere, at once or when they are asked for something."""
    graph = grimp.build_graph("arlrepro", include_external_packages=True, exclude_type_checking_imports=True)
    squashed = [name for name in graph.modules if not name.startswith("arlrepro")]
    return {name: graph.find_modules_that_directly_import(name) for name in squashed}


def test_importing_the_package_takes_less_than_a_tenth_of_a_second():
    code = "import time; began = time.process_time(); import arlrepro; print(time.process_time() - began)"
    assert float(run(code)) < 0.1


def test_what_draws_and_runs_pages_is_imported_by_the_book_alone():
    needed = external()
    assert needed["matplotlib"], "the figures are drawn by it"
    outside = {
        (name, module)
        for name in PAGES_ONLY
        for module in needed.get(name, ())
        if not module.startswith("arlrepro.book.")
    }
    assert outside == set()


def test_importing_the_library_changes_nothing_of_anyone_elses():
    code = """
import importlib, json, os, signal, sys, warnings
others, ours = map(json.loads, sys.argv[1:])
for name in others:
    importlib.import_module(name)
import matplotlib, numpy, pandas, torch
from PIL import Image

def state():
    return {
        "pandas": {name: pandas.get_option(name) for name in pandas._config.config._registered_options},
        "matplotlib": dict(matplotlib.rcParams),
        "numpy": (numpy.geterr(), numpy.get_printoptions()),
        "pillow": (Image.MAX_IMAGE_PIXELS,),
        "torch": (torch.get_num_threads(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "interrupt": signal.getsignal(signal.SIGINT),
        "hook": sys.excepthook,
    }

before = state()
for name in ours:
    importlib.import_module(name)
after = state()
print(*(name for name in before if before[name] != after[name]))
"""
    others = sorted(name for name in external() if importlib.util.find_spec(name))  # not those of other extras
    assert run(code, json.dumps(others), json.dumps(modules())).split() == []


@pytest.mark.slow
def test_every_command_but_book_works_without_the_book_extra(tmp_path):
    code = """
import json, sys
from pathlib import Path
extra, root = json.loads(sys.argv[1]), Path(sys.argv[2])
sys.modules |= dict.fromkeys(extra)  # an import of these now fails
from arlrepro.cli import app
from arlrepro.runs.archive import read_run

def arlrepro(*arguments):
    assert app(list(map(str, arguments)), standalone_mode=False) in (None, 0), arguments

arlrepro("data", "synth", root / "drawn", "--side", 64, "--training", 12, "--validation", 9, "--test", 24)
arlrepro("data", "check", root / "drawn")
arlrepro("data", "prepare", "--profile", "smoke")
arlrepro("train", "--profile", "smoke", "--network", "resnet14")
arlrepro("reproduce", "--profile", "smoke")
folder, *others = sorted(one for one in (root / "runs" / "smoke").glob("*") if one.is_dir())
arlrepro("measure", folder)
arlrepro("archive", "--weights", folder, *others)
arlrepro("results", "--profile", "smoke", "--markdown")
arlrepro("results", "--profile", "smoke", "--out", root / "tables")
arlrepro("baseline", "--profile", "smoke")
arlrepro("external", root / "drawn", "--name", "drawn", "--profile", "smoke")
arlrepro("submission", folder)
test = read_run(folder).of("test").reset_index()
columns = ["melanoma", "seborrheic_keratosis"]
test[["image_id", *columns]].to_csv(root / "scores.csv", index=False)
truth = test[["image_id", *(f"{one}_label" for one in columns)]].set_axis(["image_id", *columns], axis=1)
truth.to_csv(root / "truth.csv", index=False)
arlrepro("score", root / "scores.csv", "--truth", root / "truth.csv", "--json")
from PIL import Image
Image.new("RGB", (80, 60), (180, 120, 110)).save(root / "skin.jpg")
arlrepro("predict", root / "skin.jpg", "--run", folder, "--out", root / "out")
print("done", file=sys.stderr)
"""
    (tmp_path / "pyproject.toml").write_text("")
    run(code, json.dumps(EXTRA), tmp_path, ARLREPRO_ROOT=str(tmp_path))
    assert (tmp_path / "out" / "predictions.csv").is_file()


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_has_every_module_and_its_data(tmp_path):
    source, python = tmp_path / "source", tmp_path / "environment" / "bin" / "python"
    shutil.copytree(ROOT / "arlrepro", source / "arlrepro", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(built, check=True, capture_output=True)
    venv.create(tmp_path / "environment", with_pip=False)
    (wheel,) = tmp_path.glob("*.whl")
    installed = [*pip, "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(installed, check=True, capture_output=True)
    # Reason: the packages it needs are those of this environment; a path in a .pth file brings no editable install in.
    (site,) = (tmp_path / "environment" / "lib").glob("*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    code = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
import arlrepro
from arlrepro.book.figures import widgets
from arlrepro.paper import claims, published
print(arlrepro.__file__, len(claims.read_claims()), len(published.published()), widgets.PAGE.is_file())
"""
    where, *found = run(code, json.dumps(modules()), python=python, here=tmp_path, PYTHONPATH="").split()
    assert Path(where).is_relative_to(site)
    assert all(int(number) > 10 for number in found[:2]) and found[2] == "True"


def test_a_network_is_named_once_with_a_plain_one_of_its_family():
    assert [one.name for one in registry.NETWORKS.values()] == list(registry.NETWORKS)
    for one in registry.NETWORKS.values():
        assert (one.plain == one.name) == (one.attention == "")
        assert registry.family(one.plain)[0] == one.plain
    assert len({one.words for one in registry.NETWORKS.values()}) == len(registry.NETWORKS)
