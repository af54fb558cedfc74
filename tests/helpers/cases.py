"""Inputs that people brought, kept beside the checkout in `../shared/cases`: a test is skipped where they are not."""

import os
import shutil
from pathlib import Path

import pytest

CASES = Path(os.environ.get("ARLREPRO_CASES") or Path(__file__).parents[3] / "shared" / "cases")


def case(name: str) -> Path:
    """The folder of one case."""
    if not (CASES / name).is_dir():
        pytest.skip(f"no {CASES / name}: the reported inputs are not part of the repository")
    return CASES / name


def case_with_links(name: str, to: Path) -> Path:
    """A copy of a case, in which the files that hold the target of a link, as a copy without links has them, are links.

    Args:
        name: of the case.
        to: folder to make.
    """
    shutil.copytree(case(name), to, symlinks=True)
    for folder in (to, *(one for one in to.rglob("*") if one.is_dir() and not one.is_symlink())):
        folder.chmod(0o755)
    for path in [one for one in to.rglob("*") if one.is_file() and one.suffix == "" and one.name != "README"]:
        target = path.read_text()
        path.unlink()
        path.symlink_to(target)
    return to
