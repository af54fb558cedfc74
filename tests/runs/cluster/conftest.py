"""A checkout and a cache of the tests' own for the nodes of a cluster."""

import pytest

from arlrepro.profiles import PROFILES
from helpers.ray_matrix import small_profile


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkout of its own, in which the profile `matrix` exists, and a cache of its own for the nodes."""
    root = tmp_path_factory.mktemp("checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARLREPRO_ROOT", str(root))
        patch.setenv("ARLREPRO_CACHE", str(root / "cache"))
        patch.delenv("ARLREPRO_DATA", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setitem(PROFILES, "matrix", small_profile())
        yield root
