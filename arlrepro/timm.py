"""ARL networks in timm's registry: after `import arlrepro.timm`, each residual network of timm's is there as `arl_...`.

`timm.create_model("arl_resnet50", pretrained=True, num_classes=2)` builds timm's `resnet50` with what timm is given,
`pretrained` and its tags, `num_classes`, `in_chans`, `features_only`, `drop_path_rate` and so on, and then adds
attention, with the arguments of `arlrepro.add_attention`: `where`, `mask`, `alpha`, `alpha_learned`.
"""

from typing import Any

import timm
from torch import nn

from arlrepro.models.attach import Where, add_attention

#: Modules of timm whose networks have residual sums that `add_attention` knows; a few of theirs have none, and say so.
MODULES = ("resnet", "resnetv2", "regnet", "efficientnet", "mobilenetv3", "convnext")


def _register(name: str) -> None:
    build = timm.model_entrypoint(name)

    def network(
        pretrained: bool = False,
        *,
        where: Where = "all",
        mask: str = "positions",
        alpha: float = 0.001,
        alpha_learned: bool = True,
        **of_timm: Any,
    ) -> nn.Module:
        return add_attention(build(pretrained=pretrained, **of_timm), where, mask, alpha, alpha_learned)

    network.__name__ = network.__qualname__ = f"arl_{name}"
    network.__doc__ = f"timm's {name} with attention residual learning."
    globals()[network.__name__] = network
    timm.models.register_model(network)


for _module in MODULES:
    for _name in timm.list_models(module=_module):
        _register(_name)
