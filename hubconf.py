"""The networks for `torch.hub`: `torch.hub.load("OWNER/arlrepro", "arl_cnn50", outputs=2, weights="imagenet")`.

From a checkout, `torch.hub.load(".", "arl_cnn50", source="local")`. Arguments are those of `arlrepro.create_model`.
"""

from functools import partial as _partial
from functools import update_wrapper as _update_wrapper

from arlrepro.models.arl_cnn import create as _create
from arlrepro.models.attach import add_attention  # noqa: F401  # an entry point too: a network in, the same network out
from arlrepro.registry import NETWORKS as _NETWORKS

dependencies = ["jaxtyping", "safetensors", "timm", "torch", "torchvision"]

for _name in _NETWORKS:
    globals()[_name] = _update_wrapper(_partial(_create, _name), _create)
