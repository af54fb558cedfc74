"""Notebooks to pages, pages to a site: papermill for one profile, then Jupyter Book."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
import papermill
import yaml
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from traitlets import default

from arlrepro import paths, profiles, registry
from arlrepro.book.export import NOTHING
from arlrepro.book.tables import runs
from arlrepro.errors import ConfigError, RunError, some
from arlrepro.paths import RESULTS, root
from arlrepro.progress import bar
from arlrepro.runs import matrix


class OwnKernelSpec(KernelSpecManager):
    """Knows one kernel, whatever lies on JUPYTER_PATH: this interpreter's."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel of the interpreter that runs now, by any name."""
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class ThisInterpreter(AsyncKernelManager):
    """Starts notebooks with the interpreter that runs now, where arlrepro is.

    Reason: a kernelspec `python3` that another environment left on JUPYTER_PATH goes before this environment's own.
    """

    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return OwnKernelSpec(parent=self)


BUILD = "_build"
STAGED = ("arlrepro", "book", "results")  # what pages show or quote; and the files beside them

# Byte-stable pages need a kernel that times nothing, hashes alike and draws inline without its version in the pictures.
# Its log is quiet: one that is slow to end after its last cell logs that as an error; cells' errors come elsewhere.
KERNEL = {
    "kernel_name": "python3",
    "kernel_manager_class": ThisInterpreter,
    "record_timing": False,
    "coalesce_streams": True,
    "extra_arguments": [
        "--IPKernelApp.log_level=50",
        "--InlineBackend.print_figure_kwargs={'bbox_inches': 'tight', 'metadata': {'Software': None}}",
    ],
}
#: Notebooks for those who take a piece: run on synthetic images, the same in every part of the book.
REUSE = "reuse"
#: Notebooks that run side by side, each in a kernel of its own; more would want more memory than a laptop has. Those in
#: `reuse` go one by one: each may have to make what it needs.
AT_ONCE = min(2, os.cpu_count() or 1)
FOLDER_OF_A_MACHINE = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|tmp|work|mnt|opt|usr|var|content)/[\w.]")


def execute(profile: str, data: str, destination: Path, folder: str = "") -> list[Path]:
    """Run every notebook for a profile and write the pages.

    Args:
        profile: Name of the profile; the notebooks' parameter of that name.
        data: Folder of the real images in the official layout, or "" for none; the notebooks' other parameter.
        destination: Folder for the pages; made if it is not there. A page appears in it when it is whole.
        folder: Of the notebooks, under ``notebooks``; those in ``reuse`` take no parameters.

    Returns:
        The pages, in the notebooks' order.

    Raises:
        RunError: A cell failed, or its kernel died. The notebook as far as it got stays under ``_build/papermill``.
    """
    parameters = {} if folder == REUSE else {"profile": profile, "data": data}
    unfinished = root() / BUILD / "papermill" / (folder or profile)
    unfinished.mkdir(parents=True, exist_ok=True)
    destination.mkdir(parents=True, exist_ok=True)
    sources = sorted((root() / "notebooks" / folder).glob("[0-9][0-9]_*.ipynb"))
    if not folder and (listed := chapters(profile)):
        sources = [source for source in sources if source.stem in listed]
    here = {source.stem for source in sources}

    def page(source: Path) -> Path:
        raw = unfinished / source.name
        try:
            with closing(ensure_event_loop()):  # this thread's own, which papermill uses and would leave open
                papermill.execute_notebook(source, raw, parameters, cwd=root(), progress_bar=False, **KERNEL)
        except papermill.PapermillExecutionError as error:
            raise RunError(
                f"{source.relative_to(root())}: cell {error.cell_index} failed for profile {profile}: "
                f"{error.ename}: {error.evalue}. See {raw.relative_to(root())}, which holds the traceback."
            ) from error
        except DeadKernelError as error:
            raise RunError(
                f"{source.relative_to(root())}: its kernel died in profile {profile}; most often the memory is too "
                f"small: close what else runs, then run it again. See {raw.relative_to(root())} for how far it got."
            ) from error
        except (RuntimeError, OSError) as error:  # it did not come up at all
            raise RunError(
                f"{source.relative_to(root())}: no kernel of {sys.executable} starts ({' '.join(str(error).split())}); "
                "install what the book needs there: pip install arlrepro[book]"
            ) from error
        executed = normalise(nbformat.read(raw, as_version=4), parameters)
        if parameters:
            executed.cells = with_something_to_show(executed.cells)
            executed.cells[0].source = titled(executed.cells[0].source, profile)
            for cell in executed.cells:
                if cell.cell_type == "markdown":
                    cell.source = linked(cell.source, here)
            executed.cells.insert(1, nbformat.v4.new_markdown_cell(banner(profile, data), id="part"))
        part = destination / f"{source.name}.part"
        nbformat.write(executed, part)
        return part.replace(destination / source.name)

    def every_page() -> Iterator[Path]:
        # Reason: the first notebook opens the study, so it makes what the others read where that is not there yet.
        yield from map(page, sources[:1])
        with ThreadPoolExecutor(1 if folder == REUSE else AT_ONCE) as pool:
            yield from pool.map(page, sources[1:])

    with mock.patch.dict(os.environ, PYTHONHASHSEED="0"):
        os.environ.pop("MPLBACKEND", None)  # Agg would leave out every figure without a word
        return list(bar(every_page(), total=len(sources), desc="notebooks", unit="notebook"))


def contents() -> dict[str, Any]:
    """The book's table of contents."""
    return yaml.safe_load((root() / "book" / "_toc.yml").read_text(encoding="utf8"))


def chapters(profile: str) -> list[str]:
    """The pages that the book has of a profile, by the table of contents and in its order; none of a demo."""
    toc = contents()
    listed = [toc["root"], *(chapter["file"] for part in toc.get("parts", []) for chapter in part["chapters"])]
    return [page.removeprefix(f"{profile}/") for page in listed if page.startswith(f"{profile}/")]


def leading() -> str:
    """The profile that the book leads with, whose front page is the book's; empty where there is none."""
    return contents()["root"].rpartition("/")[0]


def shows_nothing(cell: NotebookNode) -> bool:
    """Whether a code cell put out nothing but the word that no run is completed."""
    said = [
        output.get("text") or output.get("data", {}).get("text/html") or output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", [])
    ]
    return bool(said) and all(re.match(rf"(<p>)?{NOTHING}", text) for text in said)


def with_something_to_show(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells of a page without those sections (from `##` to the next) in which every output shows nothing."""
    kept: list[NotebookNode] = []
    section: list[NotebookNode] = []
    for cell in [*cells, None]:
        if cell is None or cell.source.startswith("## "):
            put_out = [one for one in section if one.get("outputs")]
            if not put_out or not all(map(shows_nothing, put_out)) or not section[0].source.startswith("## "):
                kept += section
            section = []
        if cell is not None:
            if shows_nothing(cell):
                cell.metadata.pop("mystnb", None)  # no caption without a figure
            section.append(cell)
    return kept


def titled(text: str, profile: str) -> str:
    """A page's first cell with its experiment in the title, but for the experiment that the book leads with."""
    if profile == leading():
        return text
    first, *rest = text.split("\n")
    return "\n".join([f"{first}: {experiment(profile)}", *rest])


def experiment(profile: str) -> str:
    """An experiment in a few words, as the titles of its pages have it.

    Example:
        >>> experiment("demo"), experiment("isic2017-256")
        ('demo (synthetic)', '14 layers, from scratch')
    """
    named = profiles.profile(profile)
    if named.experiment.data.source == "synthetic":
        return f"{profile} (synthetic)"
    layers = " and ".join(sorted({one[-2:] for one in named.networks if one[-2:].isdigit()}))
    start = named.experiment.network.weights
    how = "from scratch" if start == "none" else f"from {registry.start(start)}"
    return f"{layers} layers, {how}" if layers else profile


def linked(text: str, here: Collection[str]) -> str:
    """Markdown whose links to pages that a part of the book lacks lead to those of the leading part."""

    def link(found: re.Match[str]) -> str:
        return found[0] if found[1] in here else f"](../{leading()}/{found[1]}.ipynb"

    return re.sub(r"\]\((\d\d_\w+)\.ipynb", link, text)


def banner(profile: str, data: str) -> str:
    """Which experiment a page shows, what its numbers come from, and whether its images are synthetic: Markdown."""
    synthetic = profiles.profile(profile).experiment.data.source == "synthetic"
    if synthetic:
        kind, said = ("drawn", "networks trained on this machine, on synthetic images: no number is about patients")
    elif data:
        kind, said = "real", "networks trained on dermoscopic images; a picture is of a real lesion where it says so"
    else:
        kind, said = "real", "networks trained on dermoscopic images; every lesion that is pictured is synthetic"
    return (
        f'<div class="part {kind}">\n\n**Experiment {profile}**: {said}. '
        "[The runs behind the numbers](12_runs.ipynb).\n\n</div>"
    )


def normalise(notebook: NotebookNode, parameters: dict[str, str]) -> NotebookNode:
    """Leave in an executed notebook only what would come out again: no times, paths, versions or random ids.

    Args:
        notebook: As papermill wrote it; changed in place.
        parameters: Their values replace ``@@name@@`` in Markdown and in names of figures, which keeps the labels of two
            profiles apart.

    Returns:
        The notebook; the cells of the parameters are hidden from the page, whose banner says which part it is.
    """
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        }
    )
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags or "injected-parameters" in tags:
            tags = [*tags, "remove-cell"]
        kept = {"tags": tags, "mystnb": cell.metadata.get("mystnb")}  # the second has the pictures' alternative texts
        cell.metadata = nbformat.from_dict({key: value for key, value in kept.items() if value})
        if label := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
            for name, value in parameters.items():
                label = label.replace(f"@@{name}@@", value)
            cell.metadata["mystnb"]["figure"]["name"] = label
        cell["id"] = f"c{number:03d}"
        if cell.cell_type == "markdown":
            for name, value in parameters.items():
                cell.source = cell.source.replace(f"@@{name}@@", value)
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # ids are part of the format since 4.5
    return notebook


def faults(page: Path) -> list[str]:
    """What must not be in a page for others: warnings on stderr, and folders of the machine that made it."""
    found = []
    for number, cell in enumerate(nbformat.read(page, as_version=4).cells):
        for output in cell.get("outputs", []):
            text = output.get("text", "") + "".join(
                value for kind, value in output.get("data", {}).items() if kind.startswith("text/")
            )
            if output.get("name") == "stderr":
                found.append(f"cell {number} of {page.name} wrote to stderr: {text[:100]!r}")
            elif folder := FOLDER_OF_A_MACHINE.search(text):
                found.append(f"cell {number} of {page.name} names a folder of this machine: {folder.group()!r}...")
    return found


def publish(profile: str) -> list[Path]:
    """Execute the notebooks from the archive alone and replace the committed pages of a profile.

    Args:
        profile: Name of the profile; its pages in ``book/<profile>`` are those that the table of contents lists.

    Returns:
        The pages. The same archive gives the same bytes.

    Raises:
        ConfigError: There is no such profile, or its images are synthetic: such pages are made live, never committed.
        RunError: A cell failed, wrote to stderr or names a folder of this machine. No page is replaced then.
    """
    if profiles.profile(profile).experiment.data.source == "synthetic":
        raise ConfigError(f"profile {profile} is run live and has no archive to publish: use `arlrepro book` alone")
    (root() / BUILD).mkdir(exist_ok=True)
    return [
        *_replace_pages(root() / "book" / profile, profile),
        *_replace_pages(root() / "book" / REUSE, "smoke", REUSE),
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
    copy = root() / BUILD / "staged"
    shutil.rmtree(copy, ignore_errors=True)
    for name in STAGED:
        shutil.copytree(root() / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in root().iterdir():
        if file.is_file():
            shutil.copy2(file, copy)
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
        order = {name: place for place, name in enumerate(re.findall(r"/(\w+)", text))}  # the argument's
        ordered = sorted((page.stem for page in pages), key=lambda name: (order.get(name, len(order)), name))
        chapters = [{"file": f"{profile}/{name}"} for name in ordered]
        toc.setdefault("parts", []).append({"caption": f"Made here: {experiment(profile)}", "chapters": chapters})
        table.write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf8")
        _announce(book / f"{toc['root']}.ipynb", profile, pages[0].stem)
    return book


def _announce(front: Path, profile: str, first: str) -> None:
    """Say below the abstract on the copy's front page, if it is a notebook, that there is a part made here."""
    if front.is_file():
        notebook = nbformat.read(front, as_version=4)
        said = f"**Made here**: [{experiment(profile)}](../{profile}/{first}.ipynb), trained on this machine."
        headings = (place for place, cell in enumerate(notebook.cells) if cell.source.startswith("## "))
        place = next(headings, len(notebook.cells))  # the abstract comes before it, whole on the first screen
        notebook.cells.insert(place, nbformat.v4.new_markdown_cell(said, id="here"))
        nbformat.write(notebook, front)


def build(book: Path) -> Path:
    """Build the site of a book folder; the same as ``jupyter-book build``.

    Returns:
        The front page, ``_build/html/index.html``.

    Raises:
        RunError: Jupyter Book failed; it has said why.
    """
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", str(book), "--path-output", str(root())]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:  # warnings and errors go to stderr
        raise RunError(f"{book.relative_to(root())}: jupyter-book could not build the site, see its message above.")
    return root() / BUILD / "html" / "index.html"


def make(profile: str, data: str = "") -> tuple[Path, dict[str, float]]:
    """Train what a profile lacks here, execute the notebooks and build the site with the fresh pages in it.

    Args:
        profile: Name of the profile.
        data: Folder of the real images in the official layout, or "" for none.

    Returns:
        The front page, and the seconds that each part took.
    """
    data = str(Path(data).resolve()) if data else ""
    start = time.perf_counter()
    matrix.open_study(profile, data)  # the notebooks open it too: what is long has its own progress bar and time
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
