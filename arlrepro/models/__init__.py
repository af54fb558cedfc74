"""Networks, and scores from them. `arl_cnn` is the whole architecture on one page; its names can be had from here."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arlrepro.models.arl_cnn import ARLBlock, create
    from arlrepro.models.blocks.arl_block import attention_residual, spatial_attention

__all__ = ["ARLBlock", "attention_residual", "create", "spatial_attention"]

_HOMES = {
    "ARLBlock": "arlrepro.models.arl_cnn",
    "attention_residual": "arlrepro.models.blocks.arl_block",
    "create": "arlrepro.models.arl_cnn",
    "spatial_attention": "arlrepro.models.blocks.arl_block",
}


def __getattr__(name: str) -> Any:
    """A name of the front door; Python calls this for what is not here yet."""
    if name not in _HOMES:
        raise AttributeError(f"module 'arlrepro.models' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
