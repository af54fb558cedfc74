"""What the book needs of Sphinx beyond Jupyter Book: numbers out of results/, and no scripts from elsewhere."""

import json
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

log = logging.getLogger(__name__)


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


def drop_thebe(app, pagename, templatename, context, doctree):
    """Leave out thebe's two scripts: they would be fetched from another host, and declare one constant twice."""

    def is_thebe(script):
        body = str(getattr(script, "attributes", {}).get("body", ""))
        return "THEBE_JS_URL" in body or "sphinx-thebe" in str(getattr(script, "filename", ""))

    context["script_files"] = [script for script in context.get("script_files", []) if not is_thebe(script)]


def setup(app):
    """Register the role and the hook with Sphinx."""
    app.add_role("num", Number())
    app.connect("html-page-context", drop_thebe, priority=900)  # after sphinx-thebe has added its scripts
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
