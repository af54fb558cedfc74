"""Pages to a site: the committed pages renewed, a copy of the book staged with fresh ones, built by Jupyter Book."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import nbformat
import yaml

from arlrepro import paths, profiles, storage
from arlrepro.book import model_card
from arlrepro.book.notebooks import BUILD, REUSE, execute
from arlrepro.book.pages import experiment, faults
from arlrepro.book.tables import runs
from arlrepro.errors import ConfigError, RunError, some
from arlrepro.paths import RESULTS, root
from arlrepro.runs import matrix, predict

STAGED = ("arlrepro", "book", "results", "weights")  # what pages show or quote; and the files beside them


#: The page that says what is in the library, of no use on paper; and who prints.
REFERENCE, CHROMIUMS = "api", ("chromium", "chromium-browser", "google-chrome")


def publish(profile: str) -> list[Path]:
    """Execute the notebooks from the archive alone and replace a profile's committed pages and model cards.

    Args:
        profile: Name of the profile; its pages in ``book/<profile>`` are those that the table of contents lists.

    Returns:
        The pages, and the cards of its runs whose weights are given away. The same archive gives the same bytes.

    Raises:
        ConfigError: There is no such profile, or its images are synthetic: such pages are made live, never committed.
        RunError: A cell failed, wrote to stderr or names a folder of this machine. No page is replaced then.
        OutputError: The checkout cannot be written.
    """
    if profiles.profile(profile).experiment.data.source == "synthetic":
        raise ConfigError(f"profile {profile} is run live and has no archive to publish: use `arlrepro book` alone")
    storage.require_writable(root() / BUILD)
    return [
        *_replace_pages(root() / "book" / profile, profile),
        *_replace_pages(root() / "book" / REUSE, "smoke", REUSE),
        *(model_card.write(run) for run in predict.given_away(profile)),
    ]


def _replace_pages(committed: Path, profile: str, folder: str = "") -> list[Path]:
    with tempfile.TemporaryDirectory(dir=root() / BUILD) as place, mock.patch.dict(os.environ):
        os.environ.pop("ARLREPRO_DATA", None)
        pages = execute(profile, "", Path(place), folder)
        if found := [fault for page in pages for fault in faults(page)]:
            raise RunError(f"{committed.relative_to(root())} stays as it was: {len(found)} faults: {some(found)}.")
        if pages:
            committed.mkdir(exist_ok=True)
        for stale in set(committed.glob("*.ipynb")) - {committed / page.name for page in pages}:
            stale.unlink()
        return [page.replace(committed / page.name) for page in pages]


def stage(profile: str, pages: list[Path]) -> Path:
    """Copy what the book is made of and put a profile's fresh pages in it.

    Pages of a profile that is published take the place of the committed ones; others become a part of their own.

    Returns:
        The copy's book folder, under ``_build``; no tracked file is changed.
    """
    copy = _copied("staged")
    archived = copy / RESULTS / profile
    live = paths.live_folder(profile)
    for file in runs.text_files(live):
        if not (archived / file).exists():
            (archived / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(live / file, archived / file)
    book = copy / "book"
    shutil.rmtree(book / profile, ignore_errors=True)
    (book / profile).mkdir()
    for page in pages:
        shutil.copy2(page, book / profile)
    table = book / "_toc.yml"
    text = table.read_text(encoding="utf8")
    if f"{profile}/" not in text:
        toc = yaml.safe_load(text)
        argument = list(dict.fromkeys(re.findall(r"/(\w+)", text)))  # pages as the book leads with them
        places = {name: place for place, name in enumerate(argument)}
        ordered = sorted((page.stem for page in pages), key=lambda name: (places.get(name, len(places)), name))
        chapters = [{"file": f"{profile}/{name}"} for name in ordered]
        toc.setdefault("parts", []).append({"caption": f"Made here: {experiment(profile)}", "chapters": chapters})
        table.write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf8")
        _announce(book / f"{toc['root']}.ipynb", profile, pages[0].stem)
    return book


def _copied(name: str) -> Path:
    """A fresh copy under ``_build`` of what the book is made of."""
    copy = root() / BUILD / name
    shutil.rmtree(copy, ignore_errors=True)
    for folder in STAGED:
        shutil.copytree(root() / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for file in root().iterdir():
        if file.is_file():
            shutil.copy2(file, copy)
    return copy


def _announce(front: Path, profile: str, first: str) -> None:
    """Say below the abstract on the copy's front page, if it is a notebook, that there is a part made here."""
    if front.is_file():
        notebook = nbformat.read(front, as_version=4)
        said = f"**Made here**: [{experiment(profile)}](../{profile}/{first}.ipynb), trained on this machine."
        headings = (place for place, cell in enumerate(notebook.cells) if cell.source.startswith("## "))
        place = next(headings, len(notebook.cells))  # the abstract comes before it, whole on the first screen
        notebook.cells.insert(place, nbformat.v4.new_markdown_cell(said, id="here"))
        nbformat.write(notebook, front)


def build(book: Path, *options: str) -> Path:
    """Build the site of a book folder; the same as ``jupyter-book build``, with its further options.

    Returns:
        The front page, ``_build/html/index.html``.

    Raises:
        RunError: Jupyter Book failed; it has said why.
    """
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", str(book), "--path-output", str(root()), *options]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:  # warnings and errors go to stderr
        raise RunError(f"{book.relative_to(root())}: jupyter-book could not build the site, see its message above.")
    return root() / BUILD / "html" / "index.html"


def report(out: Path) -> Path:
    """The committed book as one document, a PDF, without the reference of the library.

    Args:
        out: the file to write.

    Returns:
        The page that was printed, ``_build/singlehtml/...``, which any browser shows too.

    Raises:
        RunError: Jupyter Book failed, or there is no Chromium here to print it.
    """
    book = _copied("report") / "book"
    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf8"))
    for part in toc.get("parts", []):
        part["chapters"] = [one for one in part["chapters"] if one["file"] != REFERENCE]
    toc["parts"] = [part for part in toc.get("parts", []) if part["chapters"]]
    (book / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf8")
    build(book, "--builder", "singlehtml", "-qq")  # links to the reference lead nowhere, as one may expect
    page = root() / BUILD / "singlehtml" / f"{toc['root']}.html"
    browser = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if browser is None:
        raise RunError(f"{page}: no Chromium here to print it ({', '.join(CHROMIUMS)}); print it from another browser")
    storage.require_writable(out.resolve().parent)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    command = [browser, *options, f"--print-to-pdf={out.resolve()}", page.as_uri()]
    printed = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if printed.returncode != 0 or not out.is_file():
        raise RunError(f"{out}: {browser} did not print it: {' '.join(printed.stderr.split())[-300:]}")
    return page


def make(profile: str, data: str = "") -> tuple[Path, dict[str, float]]:
    """Train what a profile lacks here, execute the notebooks and build the site with the fresh pages in it.

    Args:
        profile: Name of the profile.
        data: Folder of the real images in the official layout, or "" for none.

    Returns:
        The front page, and the seconds that each part took.

    Raises:
        OutputError: The checkout cannot be written.
    """
    data = str(Path(data).resolve()) if data else ""
    storage.require_writable(root() / BUILD)
    start = time.perf_counter()
    # Reason: the notebooks open it too; here what is long has its own progress bar and time.
    matrix.open_study(profile, data, matrix.side_by_side)
    trained = time.perf_counter()
    pages = execute(profile, data, root() / BUILD / "pages" / profile)
    executed = time.perf_counter()
    index = build(stage(profile, pages))
    seconds = {
        "data and training": trained - start,
        "notebooks": executed - trained,
        "site": time.perf_counter() - executed,
    }
    return index, seconds
