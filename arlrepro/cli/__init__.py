"""The commands, thin: each reads its arguments, calls one function and says what came out.

Exit status: 0 done; 1 it ran and something in the input was bad; 2 it could not start.
"""

import sys
import warnings
from typing import Annotated

import typer

from arlrepro.cli import data, making, reading
from arlrepro.errors import ArlReproError, said
from arlrepro.progress import go_on_unread

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
data_app = typer.Typer(no_args_is_help=True, help="Images and labels: synthesise, check and decode them.")
app.add_typer(data_app, name="data")
for of_data in (data.download, data.extra, data.synth, data.check, data.prepare):
    data_app.command()(of_data)
for command in (
    *(making.train, making.reproduce, making.sweep, making.measure, making.archive, making.baseline, making.external),
    *(reading.results, reading.submission, reading.score, reading.predict, reading.book),
):
    app.command()(command)


def _print_version(asked: bool) -> bool:
    if asked:
        from importlib.metadata import version

        typer.echo(f"arlrepro {version('arlrepro')}")
        raise typer.Exit
    return asked


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A reproducible replication of ARL-CNN (Zhang et al., IEEE TMI 2019)."""


def main() -> None:
    """Run a command; what a user can mend ends in one line and exit status 2, not in a traceback."""
    # Reason: what Pillow warns of, a file that may unpack without end, is refused in one line: `data.files.images`.
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")
    go_on_unread()
    try:
        app()
    except (ArlReproError, OSError) as error:
        line = said(error) if isinstance(error, OSError) else str(error)
        typer.echo(f"arlrepro: {line}", err=True)
        sys.exit(2)
