"""An executed notebook as a page: its title, its banner, its links, and nothing that would not come out again."""

import io
import re
from base64 import b64decode, b64encode
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode
from PIL import Image

from arlrepro import profiles, registry
from arlrepro.book.export import NOTHING
from arlrepro.paths import root

#: From how many letters on a picture of a page is stored as JPEG, if that makes it lighter.
HEAVY = 200_000
FOLDER_OF_A_MACHINE = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|tmp|work|mnt|opt|usr|var|content)/[\w.]")


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
    kinds = ("text/markdown", "text/html", "text/plain")
    said = [
        output.get("text") or next(filter(None, map(output.get("data", {}).get, kinds)), "")
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
        >>> experiment("isic2017-256-lite0")
        'EfficientNet-Lite0, from ImageNet'
    """
    named = profiles.profile(profile)
    if named.experiment.data.source == "synthetic":
        return f"{profile} (synthetic)"
    layers = " and ".join(sorted({one[-2:] for one in named.networks if one[-2:].isdigit()}))
    start = named.experiment.network.weights
    how = "from scratch" if start == "none" else f"from {registry.start(start).partition(',')[0]}"
    return f"{f'{layers} layers' if layers else registry.network(named.networks[0])}, {how}"


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
        for output in cell.get("outputs", []):
            if len(output.get("data", {}).get("image/png", "")) > HEAVY:
                output["data"] = lighter(output["data"])
        if cell.cell_type == "markdown":
            for name, value in parameters.items():
                cell.source = cell.source.replace(f"@@{name}@@", value)
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # ids are part of the format since 4.5
    return notebook


def lighter(data: NotebookNode) -> NotebookNode:
    """An output whose picture is a JPEG on white where that takes less than half of the PNG: images, not curves."""
    png = b64decode(data["image/png"])
    with Image.open(io.BytesIO(png)) as picture:
        drawn = picture.convert("RGBA")
    ground = Image.new("RGBA", drawn.size, "white")
    stored = io.BytesIO()
    Image.alpha_composite(ground, drawn).convert("RGB").save(stored, "JPEG", quality=88, optimize=True)
    if 2 * len(stored.getvalue()) > len(png):
        return data
    kept = {kind: value for kind, value in data.items() if kind != "image/png"}
    return nbformat.from_dict({**kept, "image/jpeg": b64encode(stored.getvalue()).decode()})


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
