"""Notebooks run by papermill, each in a kernel of this interpreter, to pages that are the same each time."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from unittest import mock

import nbformat
import papermill
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from traitlets import default

from arlrepro.book.pages import banner, chapters, linked, normalise, titled, with_something_to_show
from arlrepro.errors import RunError
from arlrepro.paths import root
from arlrepro.progress import bar


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


BUILD = "_build"  # what is made on the way to a site, in no commit

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


def execute(profile: str, data: str, destination: Path, folder: str = "") -> list[Path]:
    """Run every notebook for a profile and write the pages.

    Open the study first (`matrix.open_study`), which makes the data and runs that are not there yet: of notebooks that
    run side by side one would make them, and the others would say on their pages that they wait.

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

    # Reason: where ipywidgets is not installed, importing timm warns that its bars will be plain; no page has any.
    with mock.patch.dict(os.environ, PYTHONHASHSEED="0", PYTHONWARNINGS="ignore:IProgress not found"):
        os.environ.pop("MPLBACKEND", None)  # Agg would leave out every figure without a word
        with ThreadPoolExecutor(1 if folder == REUSE else AT_ONCE) as pool:
            return list(bar(pool.map(page, sources), total=len(sources), desc="notebooks", unit="notebook"))
