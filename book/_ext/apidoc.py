"""The reference of the library from its docstrings, read and never imported: the book builds where torch is not there.

A directive `{library} NAME` shows the public functions and classes of one module: the signature as it is written, array
shapes included, and the docstring.
"""

import ast
import re
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Parser
from docutils.utils import new_document
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.docutils import SphinxDirective

NAPOLEON = Config(
    napoleon_use_param=False, napoleon_use_rtype=False, napoleon_custom_sections=["Source", "Rule", "Departure"]
)
#: To another function or class; here it becomes its name.
REFERENCE = re.compile(r":(?:func|class|meth|mod):`~?([\w.]+)`")
DOCUMENTED = (ast.FunctionDef, ast.ClassDef)


def signature(source: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    """The lines of a definition before its body, decorators of dataclasses included, without the indentation."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    start = node.body[0].lineno if isinstance(node, ast.FunctionDef) else node.lineno + 1
    lines = source.splitlines()[first - 1 : start - 1]
    return "\n".join(line[node.col_offset :] for line in lines).rstrip()


def fields(source: str, node: ast.ClassDef) -> str:
    """The fields of a dataclass as they are written, with their comments."""
    lines = source.splitlines()
    annotated = [entry for entry in node.body if isinstance(entry, ast.AnnAssign)]
    return "\n".join(line for entry in annotated for line in lines[entry.lineno - 1 : entry.end_lineno])


class Library(SphinxDirective):
    """The reference of one module, given by its name in the library, as in `data.isic`."""

    required_arguments = 1

    def run(self):
        """Return a section for the module and one for each public name; Sphinx calls this at each use."""
        name = self.arguments[0]
        path = Path(self.env.srcdir).parent / "arlrepro" / f"{name.replace('.', '/')}.py"
        self.env.note_dependency(str(path))
        source = path.read_text(encoding="utf8")
        tree = ast.parse(source)
        section = self.section(f"api-{name}", f"arlrepro.{name}", ast.get_docstring(tree))
        for node in tree.body:
            if isinstance(node, DOCUMENTED) and not node.name.startswith("_"):
                section += self.entry(source, node, f"{name}.{node.name}")
        return [section]

    def entry(self, source, node, name):
        """The section of a function or class, and for a class its public methods."""
        section = self.section(f"api-{name}", node.name, None)
        is_class = isinstance(node, ast.ClassDef)
        written = signature(source, node) + ("\n" + fields(source, node) if is_class else "")
        section += nodes.literal_block(written, written.rstrip(), language="python")
        section += self.prose(ast.get_docstring(node))
        for method in node.body if is_class else ():
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and ast.get_docstring(method):
                text = signature(source, method)
                section += nodes.literal_block(text, text, language="python")
                section += self.prose(ast.get_docstring(method))
        return section

    def section(self, identifier, title, docstring):
        """A section with a title, an anchor and the text of a docstring."""
        section = nodes.section(ids=[nodes.make_id(identifier)], names=[identifier])
        section += nodes.title(title, "", nodes.literal(title, title))
        section += self.prose(docstring)
        return section

    def prose(self, docstring):
        """A docstring as nodes: Google's sections by napoleon, single backticks as code."""
        if not docstring:
            return []
        text = REFERENCE.sub(r"``\1``", str(GoogleDocstring(docstring, NAPOLEON)))
        document = new_document(self.env.doc2path(self.env.docname), self.state.document.settings)
        Parser().parse(".. default-role:: literal\n\n" + text + "\n\n.. default-role::\n", document)
        return [node for node in document.children if not isinstance(node, nodes.system_message)]


def setup(app):
    """Register the directive with Sphinx."""
    app.add_directive("library", Library)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
