"""Pages come out the same each time, whole or not at all; a site built here changes no tracked file."""

import io
import json
import os
import re
import shutil
import sys
from base64 import b64decode, b64encode
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from PIL import Image

from arlrepro.book import notebooks as book_notebooks
from arlrepro.book import pages as book_pages
from arlrepro.book import site as book_site
from arlrepro.errors import ConfigError, RunError
from arlrepro.runs import matrix

HERE = Path(__file__).resolve().parents[2]
FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
COUNT = "for number in range(3):\n    print(number, flush=True)"


def write_notebook(path: Path, *code: str, text: str = "# A page\n\n(label-@@profile@@)=\n## Question") -> None:
    """A notebook as notebooks/ has them: a title, the parameters, code."""
    parameters = nbformat.v4.new_code_cell('profile = "smoke"\ndata = ""', metadata={"tags": ["parameters"]})
    cells = [nbformat.v4.new_markdown_cell(text), parameters, *map(nbformat.v4.new_code_cell, code)]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout with this one's configuration, one notebook and one committed page of `isic2017-256`."""
    (tmp_path / "pyproject.toml").touch()
    for folder in ("arlrepro", "results", "weights"):
        (tmp_path / folder).mkdir()
    shutil.copy(HERE / "_config.yml", tmp_path)
    shutil.copytree(HERE / "book" / "_ext", tmp_path / "book" / "_ext")
    (tmp_path / "book" / "_extra").mkdir()
    (tmp_path / "book" / "intro.md").write_text("# The book\n")
    published = {"caption": "Published", "chapters": [{"file": "isic2017-256/01_page"}]}
    toc = {"format": "jb-book", "root": "intro", "parts": [published]}
    (tmp_path / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    write_notebook(tmp_path / "notebooks" / "01_page.ipynb", "print(profile, repr(data))")
    write_notebook(tmp_path / "book" / "isic2017-256" / "01_page.ipynb", "1 + 1")
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a checkout but those that git ignores."""
    files = (path for path in folder.rglob("*") if path.is_file() and "_build" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def printed(page: Path) -> str:
    """What the cells of a page wrote to standard output."""
    outputs = (output for cell in nbformat.read(page, 4).cells for output in cell.get("outputs", []))
    return "".join(output.get("text", "") for output in outputs)


def test_pages_published_twice_are_the_same_bytes(checkout, monkeypatch):
    write_notebook(checkout / "notebooks" / "01_page.ipynb", FIGURE, COUNT, "{'a', 'b', 'c'}")
    first = [page.read_bytes() for page in book_site.publish("isic2017-256")]
    monkeypatch.setenv("MPLBACKEND", "Agg")
    second = [page.read_bytes() for page in book_site.publish("isic2017-256")]
    assert first == second
    assert b"image/png" in first[0]


def test_published_pages_saw_their_profile_and_no_real_data_and_are_those_of_the_contents(checkout, monkeypatch):
    monkeypatch.setenv("ARLREPRO_DATA", "/somewhere")
    (checkout / "notebooks" / "01_page.ipynb").unlink()
    write_notebook(
        checkout / "notebooks" / "02_new.ipynb", "import os\nprint(profile, os.environ.get('ARLREPRO_DATA'))"
    )
    write_notebook(checkout / "notebooks" / "03_of_another_experiment.ipynb", "1 / 0")
    toc = checkout / "book" / "_toc.yml"
    toc.write_text(toc.read_text().replace("01_page", "02_new"))
    (page,) = book_site.publish("isic2017-256")
    assert list((checkout / "book" / "isic2017-256").iterdir()) == [page]
    assert page.name == "02_new.ipynb"
    assert printed(page) == "isic2017-256 None\n"
    assert os.environ["ARLREPRO_DATA"] == "/somewhere"


def test_a_cell_that_fails_is_named_and_nothing_is_published(checkout):
    write_notebook(checkout / "notebooks" / "01_page.ipynb", "1 / 0")
    before = contents(checkout)
    with pytest.raises(RunError) as caught:
        book_site.publish("isic2017-256")
    assert str(caught.value) == (
        "notebooks/01_page.ipynb: cell 3 failed for profile isic2017-256: ZeroDivisionError: division by zero. "
        "See _build/papermill/isic2017-256/01_page.ipynb, which holds the traceback."
    )
    assert contents(checkout) == before
    assert "1 / 0" in (checkout / "_build" / "papermill" / "isic2017-256" / "01_page.ipynb").read_text()


FOREIGN = {
    "of an environment that is gone": {"argv": ["/opt/old-module/bin/python", "-m", "ipykernel_launcher"]},
    "of an interpreter without the library": {"argv": ["/usr/bin/python3", "-S", "-m", "ipykernel_launcher"]},
    "of another language": {"argv": ["R", "--slave", "-e", "IRkernel::main()"], "language": "R"},
    "that is cut off": None,
}


@pytest.mark.parametrize("spec", FOREIGN.values(), ids=FOREIGN)
def test_notebooks_run_with_this_interpreter_whatever_kernelspec_lies_on_the_path(checkout, monkeypatch, spec):
    folder = checkout / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    filled = {"display_name": "Python 3", "language": "python", **(spec or {})}
    (folder / "kernel.json").write_text(json.dumps(filled) if spec else '{"argv": [')
    monkeypatch.setenv("JUPYTER_PATH", str(checkout / "jupyter"))
    write_notebook(checkout / "notebooks" / "01_page.ipynb", "import sys, arlrepro\nprint(sys.executable)")
    (page,) = book_notebooks.execute("smoke", "", checkout / "pages")
    assert printed(page) == f"{sys.executable}\n"


def test_a_kernel_that_dies_is_one_line(checkout):
    write_notebook(checkout / "notebooks" / "01_page.ipynb", "import os\nos._exit(9)")
    with pytest.raises(RunError) as caught:
        book_notebooks.execute("smoke", "", checkout / "pages")
    assert str(caught.value) == (
        "notebooks/01_page.ipynb: its kernel died in profile smoke; most often the memory is too small: close what "
        "else runs, then run it again. See _build/papermill/smoke/01_page.ipynb for how far it got."
    )


def test_a_kernel_that_does_not_start_is_one_line(checkout, monkeypatch):
    monkeypatch.setattr(book_notebooks, "get_kernel_dict", lambda: {"argv": ["/nowhere/python"], "language": "python"})
    with pytest.raises(RunError, match=r"^notebooks/01_page.ipynb: no kernel of .* starts \(.*nowhere"):
        book_notebooks.execute("smoke", "", checkout / "pages")


def test_stderr_and_folders_of_this_machine_are_not_published(checkout):
    write_notebook(
        checkout / "notebooks" / "01_page.ipynb", "import sys\nprint('late', file=sys.stderr)", "print('/home/someone')"
    )
    before = contents(checkout)
    with pytest.raises(RunError) as caught:
        book_site.publish("isic2017-256")
    assert str(caught.value) == (
        "book/isic2017-256 stays as it was: 2 faults: cell 4 of 01_page.ipynb wrote to stderr: 'late\\n', "
        "cell 5 of 01_page.ipynb names a folder of this machine: '/home/s'...."
    )
    assert contents(checkout) == before


def test_a_profile_without_an_archive_is_not_published(checkout):
    with pytest.raises(ConfigError) as caught:
        book_site.publish("demo")
    assert str(caught.value) == "profile demo is run live and has no archive to publish: use `arlrepro book` alone"


def test_a_normalised_page_hides_its_parameters_and_keeps_no_trace_of_the_run():
    cells = [
        nbformat.v4.new_markdown_cell("(eq-@@profile@@)=", metadata={"papermill": {"start_time": "now"}}),
        nbformat.v4.new_code_cell(
            'profile = "smoke"', metadata={"tags": ["parameters"], "execution": {"iopub.status.busy": "now"}}
        ),
        nbformat.v4.new_code_cell('profile = "demo"', metadata={"tags": ["injected-parameters"]}),
    ]
    raw = nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"version": "2"}, "widgets": {}})
    page = book_pages.normalise(raw, {"profile": "demo", "data": ""})
    assert page.cells[0].source == "(eq-demo)="
    assert [cell.metadata for cell in page.cells] == [
        {},
        {"tags": ["parameters", "remove-cell"]},
        {"tags": ["injected-parameters", "remove-cell"]},
    ]
    assert [cell.id for cell in page.cells] == ["c000", "c001", "c002"]
    assert set(page.metadata) == {"kernelspec", "language_info"}


def stored(picture: np.ndarray) -> nbformat.NotebookNode:
    """An output of a cell that shows a picture."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return nbformat.from_dict({"image/png": b64encode(file.getvalue()).decode(), "text/plain": "<Figure>"})


def test_a_page_keeps_images_as_jpeg_on_white_and_curves_as_png():
    lines = np.zeros((400, 400, 4), dtype=np.uint8)
    lines[::20] = (0, 0, 0, 255)
    curves = stored(lines)
    assert book_pages.lighter(curves) == curves
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 4), dtype=np.uint8)
    noise[:40, :, 3] = 0
    image = book_pages.lighter(stored(noise))
    assert set(image) == {"image/jpeg", "text/plain"}
    with Image.open(io.BytesIO(b64decode(image["image/jpeg"]))) as shown:
        assert shown.getpixel((200, 8)) == (255, 255, 255), "what was clear is white, also on a dark page"
    assert len(image["image/jpeg"]) * 2 < len(stored(noise)["image/png"])


def test_a_section_that_shows_nothing_is_left_out_and_a_figure_that_is_none_has_no_caption():
    def cell(text: str, said: str, kind: str = "text/plain") -> list:
        code = nbformat.v4.new_code_cell("1", metadata={"mystnb": {"figure": {"caption": "c"}}})
        shown = nbformat.v4.new_output("display_data", {"text/plain": "<an object>", kind: said})
        code.outputs = [shown] if said else []
        return [nbformat.v4.new_markdown_cell(text), code]

    page = [
        *cell("# Title", "No completed run of it yet."),
        *cell("## Empty", "No completed runs yet."),
        *cell("## Prose", "No completed run on another data set.", "text/markdown"),
        *cell("## Half", "No completed runs yet."),
        *cell("and more", "a table"),
        *cell("## Silent", ""),
    ]
    kept = book_pages.with_something_to_show(page)
    assert [one.source for one in kept if one.cell_type == "markdown"] == [
        "# Title",
        "## Half",
        "and more",
        "## Silent",
    ]
    assert ["mystnb" in one.metadata for one in kept if one.cell_type == "code"] == [False, False, True, True]


def test_links_to_pages_of_another_part_lead_there_and_titles_name_the_experiment(checkout):
    (checkout / "book" / "_toc.yml").write_text("format: jb-book\nroot: isic2017-256-imagenet/00_front\n")
    text = "[a](01_here.ipynb) and [b](02_there.ipynb#part)"
    assert book_pages.linked(text, {"01_here"}) == (
        "[a](01_here.ipynb) and [b](../isic2017-256-imagenet/02_there.ipynb#part)"
    )
    assert book_pages.titled("# Runs\nmore", "isic2017-256-imagenet") == "# Runs\nmore"
    assert book_pages.titled("# Runs\nmore", "demo") == "# Runs: demo (synthetic)\nmore"
    assert book_pages.titled("# Runs", "isic2017-256") == "# Runs: 14 layers, from scratch"


def test_fresh_pages_take_the_place_of_published_ones_in_the_copy_only(checkout, tmp_path):
    before = contents(checkout)
    fresh = checkout / "_build" / "pages" / "01_page.ipynb"
    write_notebook(fresh, "'fresh'")
    copy = book_site.stage("isic2017-256", [fresh])
    assert copy == checkout / "_build" / "staged" / "book"
    assert (copy / "isic2017-256" / "01_page.ipynb").read_bytes() == fresh.read_bytes()
    assert (copy / "_toc.yml").read_bytes() == before["book/_toc.yml"]
    assert contents(checkout) == before


def test_pages_of_a_profile_that_is_not_published_become_a_part_of_their_own(checkout):
    fresh = checkout / "_build" / "pages" / "01_page.ipynb"
    write_notebook(fresh, "'fresh'")
    toc = yaml.safe_load((book_site.stage("demo", [fresh]) / "_toc.yml").read_text())
    assert toc["parts"] == [
        {"caption": "Published", "chapters": [{"file": "isic2017-256/01_page"}]},
        {"caption": "Made here: demo (synthetic)", "chapters": [{"file": "demo/01_page"}]},
    ]


def test_pages_made_here_stand_in_the_order_of_the_published_ones(checkout):
    names = ["00_answer", "01_data", "12_runs", "13_new"]
    fresh = [checkout / "_build" / "pages" / f"{name}.ipynb" for name in names]
    for page in fresh:
        write_notebook(page, "1")
    files = ["isic2017-256/12_runs", "isic2017-256/01_data", "isic2017-256-lite0/12_runs"]  # the last: another study
    parts = [{"caption": "It", "chapters": [{"file": file} for file in files]}]
    toc = {"format": "jb-book", "root": "isic2017-256/00_answer", "parts": parts}
    (checkout / "book" / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    *_, made = yaml.safe_load((book_site.stage("demo", fresh) / "_toc.yml").read_text())["parts"]
    assert [one["file"] for one in made["chapters"]] == [
        *("demo/00_answer", "demo/12_runs", "demo/01_data", "demo/13_new"),
    ]


def test_the_front_page_leads_to_the_part_that_was_made_here_below_its_answer(checkout):
    (checkout / "book" / "_toc.yml").write_text("format: jb-book\nroot: isic2017-256/01_page\n")
    front = checkout / "book" / "isic2017-256" / "01_page.ipynb"
    notebook = nbformat.read(front, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("## Claim by claim", id="more"))
    nbformat.write(notebook, front)
    fresh = checkout / "_build" / "pages" / "01_page.ipynb"
    write_notebook(fresh, "'fresh'")
    staged = nbformat.read(book_site.stage("demo", [fresh]) / "isic2017-256" / "01_page.ipynb", 4).cells
    assert [cell.source for cell in staged[-2:]] == [
        "**Made here**: [demo (synthetic)](../demo/01_page.ipynb), trained on this machine.",
        "## Claim by claim",
    ]
    assert staged[:-2] == notebook.cells[:-1]


def test_make_builds_a_site_with_the_fresh_pages_and_changes_no_tracked_file(checkout, monkeypatch):
    opened = []
    monkeypatch.setattr(matrix, "open_study", lambda *arguments: opened.append(arguments))
    before = contents(checkout)
    index, seconds = book_site.make("demo")
    assert opened == [("demo", "", matrix.side_by_side)]
    assert index == checkout / "_build" / "html" / "index.html"
    assert index.is_file()
    assert "demo ''" in (checkout / "_build" / "html" / "demo" / "01_page.html").read_text().replace("&#39;", "'")
    assert list(seconds) == ["data and training", "notebooks", "site"]
    assert contents(checkout) == before


@pytest.mark.parametrize("address", ["", "https://github.com/OWNER/NAME"])
def test_buttons_to_binder_and_colab_appear_where_the_repository_has_an_address(checkout, monkeypatch, address):
    monkeypatch.setenv("ARLREPRO_REPOSITORY", address)
    page = book_site.build(checkout / "book").parent / "isic2017-256" / "01_page.html"
    links = re.findall(r'href="(https://[^"]+)"', page.read_text())
    notebook = "/book/isic2017-256/01_page.ipynb"
    assert [link for link in links if "mybinder" in link] == (
        [f"https://mybinder.org/v2/gh/OWNER/NAME/main?urlpath=lab/tree{notebook}"] if address else []
    )
    assert [link for link in links if "colab" in link] == (
        [f"https://colab.research.google.com/github/OWNER/NAME/blob/main{notebook}"] if address else []
    )


def test_the_files_of_a_run_lie_beside_the_pages(checkout):
    (checkout / "results" / "isic2017-256" / "RUN").mkdir(parents=True)
    (checkout / "results" / "isic2017-256" / "RUN" / "config.yaml").write_text("format: 1\n")
    site = book_site.build(checkout / "book").parent
    assert (site / "results" / "isic2017-256" / "RUN" / "config.yaml").read_text() == "format: 1\n"


@pytest.mark.browser
def test_the_book_is_printed_as_one_pdf_without_the_reference(checkout):
    if not any(map(shutil.which, book_site.CHROMIUMS)):
        pytest.skip("no chromium on the PATH: on Debian, apt install chromium")
    (checkout / "book" / "api.md").write_text("# The library\n")
    toc = yaml.safe_load((checkout / "book" / "_toc.yml").read_text())
    toc["parts"].append({"caption": "Reuse", "chapters": [{"file": "api"}]})
    (checkout / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    page = book_site.report(checkout / "report.pdf")
    assert (checkout / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert "A page" in page.read_text() and "The library" not in page.read_text()


def test_without_a_browser_the_page_to_print_is_named(checkout, monkeypatch):
    monkeypatch.setattr(book_site.shutil, "which", lambda name: None)
    with pytest.raises(RunError, match=r"intro.html: no Chromium here to print it \(chromium, "):
        book_site.report(checkout / "report.pdf")


def test_a_book_that_does_not_build_is_said(checkout):
    (checkout / "book" / "_toc.yml").write_text("format: jb-book\nroot: nowhere\n")
    with pytest.raises(RunError) as caught:
        book_site.build(checkout / "book")
    assert str(caught.value) == "book: jupyter-book could not build the site, see its message above."


def test_a_page_says_which_experiment_it_is_and_whether_its_lesions_are_synthetic(checkout):
    (page,) = book_site.publish("isic2017-256")
    said = nbformat.read(page, 4).cells[1].source
    assert "**Experiment isic2017-256**" in said and "every lesion that is pictured is synthetic" in said
    assert "no number is about patients" in book_pages.banner("demo", "")
    assert "a picture is of a real lesion where it says so" in book_pages.banner("isic2017-256", "/images")


def test_pages_for_reuse_take_no_profile_and_are_published_with_the_others(checkout):
    cells = [nbformat.v4.new_markdown_cell("# A piece?"), nbformat.v4.new_code_cell("print(2 + 2)")]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    piece = checkout / "notebooks" / book_notebooks.REUSE / "01_piece.ipynb"
    piece.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), piece)
    *_, page = book_site.publish("isic2017-256")
    assert page == checkout / "book" / book_notebooks.REUSE / "01_piece.ipynb"
    assert printed(page) == "4\n"
    assert "**Experiment" not in page.read_text()


def test_every_piece_for_reuse_runs_without_a_warning(tmp_path):
    pages = book_notebooks.execute("smoke", "", tmp_path, book_notebooks.REUSE)
    assert [page.name for page in pages] == [path.name for path in sorted((HERE / "notebooks" / "reuse").iterdir())]
    assert [fault for page in pages for fault in book_pages.faults(page)] == []


def test_every_notebook_runs_on_the_smoke_profile_without_a_warning(tmp_path):
    matrix.open_study("smoke")
    pages = book_notebooks.execute("smoke", "", tmp_path)
    assert [page.name for page in pages] == [path.name for path in sorted((HERE / "notebooks").glob("*.ipynb"))]
    assert [fault for page in pages for fault in book_pages.faults(page)] == []
