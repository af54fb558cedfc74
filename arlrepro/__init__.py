"""A reproducible replication of ARL-CNN (Zhang, Xie, Xia, Shen; IEEE TMI 2019).

What people come for can be had from here. Each name is looked up when it is asked for, so that `import arlrepro` loads
nothing: neither torch nor pandas.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arlrepro.data.isic import read_dataset
    from arlrepro.evaluation.submission import score
    from arlrepro.models.arl_cnn import ARLBlock
    from arlrepro.models.arl_cnn import create as create_model
    from arlrepro.models.attach import add_attention
    from arlrepro.runs.archive import read_run
    from arlrepro.runs.matrix import open_study
    from arlrepro.runs.predict import score_images as predict

__all__ = ["ARLBlock", "add_attention", "create_model", "open_study", "predict", "read_dataset", "read_run", "score"]

#: Where each name is defined, and how it is called there.
_HOMES = {
    "ARLBlock": ("models.arl_cnn", "ARLBlock"),
    "add_attention": ("models.attach", "add_attention"),
    "create_model": ("models.arl_cnn", "create"),
    "open_study": ("runs.matrix", "open_study"),
    "predict": ("runs.predict", "score_images"),
    "read_dataset": ("data.isic", "read_dataset"),
    "read_run": ("runs.archive", "read_run"),
    "score": ("evaluation.submission", "score"),
}
_PACKAGES = ("attention", "book", "data", "evaluation", "models", "paper", "runs", "training")


def __getattr__(name: str) -> Any:
    """A name of the front door, or a package; Python calls this for what is not here yet."""
    if name in _PACKAGES:
        return importlib.import_module(f"arlrepro.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'arlrepro' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"arlrepro.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_PACKAGES])
