"""What the book needs of Sphinx beyond Jupyter Book: the archive in numbers, files and links; no foreign scripts."""

import json
import os
import re
import shutil
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

log = logging.getLogger(__name__)

#: The address of the repository, if it has one: pages then have buttons that lead to it, to Binder and to Colab.
REPOSITORY = "ARLREPRO_REPOSITORY"
#: A table's cell of nothing but text.
CELL = re.compile(r"<(t[hd])([^>]*)>([^<]+)</\1>")


class Number(SphinxRole):
    r"""A number of the archive, in prose: {num}`isic2017-256/RUN/metrics.json:test.mean_auc:.3f`.

    The parts are a JSON file under results/, the keys to the value (list positions count from 0) and the format.
    The page is rebuilt when the file changes; a file or key that is not there is a warning, so the strict build fails.
    """

    def run(self):
        """Return the number as text; Sphinx calls this at each use."""
        name, _, rest = self.text.partition(":")
        keys, _, form = rest.partition(":")
        path = Path(self.env.srcdir).parent / "results" / name
        self.env.note_dependency(str(path))
        try:
            value = json.loads(path.read_text(encoding="utf8"))
            for key in keys.split("."):
                value = value[int(key)] if isinstance(value, list) else value[key]
            text = format(value, form)
        except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
            log.warning("num: %s: %r", self.text, error, location=self.get_location(), type="arlbook", subtype="num")
            text = "??"
        return [nodes.inline(text, text, classes=["num"])], []


class CountsTable(SphinxDirective):
    """A JSON file of the archive that counts something by row, as a table; the content is what its columns are called.

    The first is of the keys, the others of the counts under each; a count that is not there fails the build.
    """

    required_arguments = 1
    has_content = True

    def run(self):
        """Return the table; Sphinx calls this at each use."""
        path = Path(self.env.srcdir).parent / "results" / self.arguments[0]
        self.env.note_dependency(str(path))
        head, *columns = self.content
        try:
            counted = json.loads(path.read_text(encoding="utf8"))
            rows = [(name, *(f"{counts[one]:,}" for one in columns)) for name, counts in counted.items()]
        except (OSError, ValueError, KeyError) as error:
            raise self.error(f"counts: {self.arguments[0]}: {error!r}") from error
        lines = [(head, *columns), ["---"] * len(self.content), *rows]
        table = nodes.Element()
        text = StringList([f"| {' | '.join(line)} |" for line in lines], source=str(path))
        self.state.nested_parse(text, self.content_offset, table)
        return table.children


def drop_thebe(app, pagename, templatename, context, doctree):
    """Leave out thebe's two scripts: they would be fetched from another host, and declare one constant twice."""

    def is_thebe(script):
        body = str(getattr(script, "attributes", {}).get("body", ""))
        return "THEBE_JS_URL" in body or "sphinx-thebe" in str(getattr(script, "filename", ""))

    context["script_files"] = [script for script in context.get("script_files", []) if not is_thebe(script)]


def runs_page(srcdir: Path, folder: str) -> tuple[str, dict[str, str]]:
    """The page of a part that lists its runs, and its anchors by the words that tables call runs and networks."""
    for notebook in sorted((srcdir / folder).glob("*_runs.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
        outputs = (output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
        html = "".join("".join(output.get("text/html", "")) for output in outputs)
        named = re.findall(r'id="([^"]+)" data-name="([^"]+)"', html)
        return f"{notebook.stem}.html", {name: anchor for anchor, name in reversed(named)}  # the first of a name
    return "", {}


def link_runs(app, pagename, templatename, context, doctree):
    """Make a link of each run and network that a table names: to its folder, settings, files and commands.

    A cell is meant as a whole: `ARL-CNN14`, `ARL-CNN14 minus ResNet-14`, `ARL-CNN14, seed 0`, or a run's folder.
    """
    folder, _, name = pagename.rpartition("/")
    page, anchors = runs_page(Path(app.srcdir), folder) if folder and "body" in context else ("", {})
    if not anchors or page == f"{name}.html":
        return

    def linked(cell):
        tag, attributes, text = cell.groups()
        name, interval = re.fullmatch(r"\s*(.*?)( \[95 % CI\])?\s*", text, re.DOTALL).groups()
        parts = [name] if name in anchors else name.split(" minus ")
        targets = [anchors.get(part.rpartition("/")[2]) for part in parts]
        if None in targets:
            return cell.group()
        links = (f'<a href="{page}#{target}">{part}</a>' for target, part in zip(targets, parts, strict=True))
        return f"<{tag}{attributes}>{' minus '.join(links)}{interval or ''}</{tag}>"

    context["body"] = CELL.sub(linked, context["body"])


def copy_results(app, exception):
    """Put the archive beside the pages, so that they can link to every file of a run."""
    archive = Path(app.srcdir).parent / "results"
    if exception is None and app.builder.format == "html" and archive.is_dir():
        shutil.copytree(archive, Path(app.outdir) / "results", dirs_exist_ok=True)


def add_buttons(app, config):
    """Show the buttons of the repository, Binder and Colab where the repository's address is told."""
    if address := os.environ.get(REPOSITORY):
        config.html_theme_options |= {
            "repository_url": address,
            "repository_branch": "main",
            "path_to_docs": "book",
            "use_repository_button": True,
            "launch_buttons": {
                "notebook_interface": "jupyterlab",
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
            },
        }


def setup(app):
    """Register the role and the hooks with Sphinx."""
    app.add_role("num", Number())
    app.add_directive("counts", CountsTable)
    app.connect("config-inited", add_buttons)
    app.connect("html-page-context", drop_thebe, priority=900)  # after sphinx-thebe has added its scripts
    app.connect("html-page-context", link_runs)
    app.connect("build-finished", copy_results)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
