"""What pytest needs for notebooks: nbval with this environment's Python, and no comparison of what may differ."""

import os

# Reason: the tests' networks are small; threads that wait for each other cost more than they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")

collect_ignore = ["setup_venv.py", "tests/no_torch"]


def pytest_configure(config):
    """Run pages with this environment's kernel and figures inline; compare them as tests/nbval_sanitize.cfg says."""
    os.environ.pop("MPLBACKEND", None)  # Agg would leave out every figure without a word
    if config.getoption("nbval", False) or config.getoption("nbval_lax", False):
        config.option.nbval_current_env = config.option.nbval_kernel_name is None
        if not config.option.nbval_sanitize_with:
            config.option.nbval_sanitize_with = str(config.rootpath / "tests" / "nbval_sanitize.cfg")


def pytest_collection_modifyitems(items):
    """Leave stderr and vector graphics out of the comparison: the first is not stored, the second varies by version."""
    for item in items:
        skipped = getattr(item.parent, "skip_compare", None)
        if skipped is not None and "stderr" not in skipped:
            item.parent.skip_compare = (*skipped, "stderr", "image/svg+xml")
