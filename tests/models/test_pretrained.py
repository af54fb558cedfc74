"""Weights from elsewhere: by name or not at all, and without running what a file says."""

import os
import urllib.error
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet50_Weights, resnet50
from torchvision.models.resnet import Bottleneck, ResNet

from arlrepro.errors import ConfigError
from arlrepro.models.arl_cnn import create
from arlrepro.models.pretrained import load_weights, locate, read_state, sha256, use_folder
from arlrepro.registry import PRETRAINED
from helpers.stored_files import pack

PUBLISHED = Path(ResNet50_Weights.IMAGENET1K_V1.url).name


@pytest.fixture(scope="module")
def made() -> dict[str, torch.Tensor]:
    """A made state dict of torchvision's ResNet-50, as old files are: without the batch counters."""
    state = resnet50().state_dict()
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """Where torchvision keeps its weights, empty, on a machine without a network."""

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("ARLREPRO_WEIGHTS", raising=False)
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    return tmp_path / "hub" / "checkpoints"


def evil(path: Path) -> object:
    """An object that writes a file when it is unpickled."""

    class Evil:
        def __reduce__(self):
            return Path.touch, (path,)

    return Evil()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_resnets_weights_load_by_name_and_leave_alpha_and_another_head(tmp_path, made, ending):
    path = tmp_path / f"resnet50.{ending}"
    save_file(made, path) if ending == "safetensors" else torch.save(made, path)
    network = create("arl_cnn50", outputs=2, alpha=0.25, weights=str(path))
    assert torch.equal(network.layer4[2].conv3.weight, made["layer4.2.conv3.weight"])
    assert network.layer4[2].alpha == 0.25
    assert network.fc.weight.shape == (2, 2048)


def known_as(path: Path, monkeypatch, weights: str) -> None:
    """Let a made file pass for named weights: its SHA-256 takes the place of theirs."""
    monkeypatch.setitem(PRETRAINED, weights, replace(PRETRAINED[weights], sha256=sha256(path)))


@pytest.mark.parametrize("name", PRETRAINED["imagenet"].networks)
def test_imagenet_weights_lie_where_torchvision_keeps_them(hub, made, name, monkeypatch):
    hub.mkdir(parents=True)
    torch.save(made, hub / PUBLISHED)
    known_as(hub / PUBLISHED, monkeypatch, "imagenet")
    state = create(name, weights="imagenet").state_dict()
    assert all(torch.equal(state[key], value) for key, value in made.items() if not key.startswith("fc."))


def test_offline_the_message_says_where_the_file_goes(hub):
    with pytest.raises(ConfigError) as caught:
        create("resnet50", weights="imagenet")
    assert str(caught.value) == (
        f"weights imagenet: no {hub / PUBLISHED}, and they could not be fetched (<urlopen error no network>); fetch "
        f"{ResNet50_Weights.IMAGENET1K_V1.url} on a machine with a network and put it there (--weights-dir or "
        "ARLREPRO_WEIGHTS names another folder), or give the path of the file as network.weights"
    )


def test_named_weights_are_looked_for_in_their_folder_first(hub, made, tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    for place in (hub, folder):
        place.mkdir(parents=True)
        save_file(made, place / "resnet50.safetensors")
    known_as(folder / "resnet50.safetensors", monkeypatch, "imagenet-8bit")
    assert locate("imagenet-8bit") == hub / "resnet50.safetensors"
    use_folder(folder)
    assert locate("imagenet-8bit") == folder / "resnet50.safetensors"


def test_weights_that_cannot_be_fetched_say_where_they_were_looked_for(hub, tmp_path):
    use_folder(tmp_path)
    with pytest.raises(ConfigError) as caught:
        locate("imagenet-8bit")
    places = f"{tmp_path / 'resnet50.safetensors'} or {hub / 'resnet50.safetensors'}"
    assert str(caught.value).startswith(f"weights imagenet-8bit: no {places}; put the file there, or name its folder")


def test_a_file_of_other_bytes_under_the_name_is_refused(hub, made, tmp_path):
    save_file(made, tmp_path / "resnet50.safetensors")
    use_folder(tmp_path)
    with pytest.raises(ConfigError) as caught:
        create("resnet50", weights="imagenet-8bit")
    path = tmp_path / "resnet50.safetensors"
    assert str(caught.value) == (
        f"{path}: its SHA-256 is {sha256(path)}, that of the weights imagenet-8bit begins with f53d3f51a93859f1; "
        "it is another file or a broken one: fetch it again, or give it as a path"
    )


def test_a_weights_folder_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ARLREPRO_WEIGHTS", str(tmp_path / "nowhere"))
    for ask in (lambda: use_folder(tmp_path / "nowhere"), lambda: locate("imagenet")):
        with pytest.raises(ConfigError, match="no such folder"):
            ask()


def test_a_number_that_is_none_is_refused_and_its_tensor_named(tmp_path, made):
    broken = {**made, "layer1.0.conv1.weight": torch.full_like(made["layer1.0.conv1.weight"], torch.nan)}
    save_file(broken, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"1 tensors hold NaN or infinity: layer1.0.conv1.weight$"):
        create("resnet50", weights=str(tmp_path / "w.safetensors"))


@pytest.mark.skipif("ARLREPRO_WEIGHTS" not in os.environ, reason="needs ARLREPRO_WEIGHTS, the folder of the weights")
def test_the_weights_beside_the_project_are_those_that_the_runs_name():
    network = create("arl_cnn50", outputs=2, weights="imagenet-8bit")
    assert all(value.isfinite().all() for value in network.state_dict().values())


@pytest.mark.parametrize("name", ["resnet14", "se_resnet14", "ran50"])
def test_networks_without_imagenet_weights_are_told_which_have_them(name):
    with pytest.raises(ConfigError) as caught:
        create(name, weights="imagenet")
    assert str(caught.value) == (
        f"weights imagenet do not fit {name}, only resnet50, arl_cnn50, se_resnet50, cbam_resnet50, eca_resnet50; "
        "use weights none"
    )


def test_a_networks_own_weights_load_whole(tmp_path):
    trained = create("se_resnet14", outputs=2)
    save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, tmp_path / "w.safetensors")
    again = create("se_resnet14", outputs=2, weights=str(tmp_path / "w.safetensors"))
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in again.state_dict().items())


def test_weights_with_some_of_the_gates_are_refused(tmp_path):
    state = {key: value.contiguous() for key, value in create("se_resnet14").state_dict().items()}
    del state["layer4.0.gate.fc1.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"1 of the network's are missing \(layer4.0.gate.fc1.weight\)$"):
        create("se_resnet14", weights=str(tmp_path / "w.safetensors"))


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(1), "head.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"do not fit resnet14: 2 names or shapes of theirs are not the network's"):
        load_weights(create("resnet14"), str(tmp_path / "w.safetensors"), "resnet14")


def test_an_object_in_a_file_is_never_unpickled(tmp_path):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({"conv1.weight": evil(trace)}, path)
    with pytest.raises(
        ConfigError, match=r"evil.pth: not a file of tensors alone, or a broken one \(Weights only load"
    ):
        read_state(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        (
            "none.pth",
            None,
            r"none.pth: no such file; give one of none, imagenet, imagenet-8bit, imagenet-lite0, or the path of a "
            r".safetensors or .pth",
        ),
        ("text.safetensors", "not weights", r"text.safetensors: not a safetensors file"),
        ("text.pth", "not weights", r"text.pth: not a file of tensors alone, or a broken one"),
        ("empty.pth", "", r"empty.pth: not a file of tensors alone, or a broken one"),
        (
            "weights.h5",
            "x",
            r"weights.h5: unknown kind of file '.h5'; known: .safetensors, .pth, .pt, .tar, .ckpt, "
            r".bin$",
        ),
    ],
)
def test_a_file_that_holds_no_weights_is_refused_in_one_line(tmp_path, name, contents, message):
    if contents is not None:
        (tmp_path / name).write_text(contents)
    with pytest.raises(ConfigError, match=message) as caught:
        read_state(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_no_state_dict(tmp_path):
    torch.save({"network": {"conv1.weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(ConfigError, match=r"holds no state dict, tensors by name; save network.state_dict\(\) alone$"):
        read_state(tmp_path / "checkpoint.pth")


def published(state: dict[str, torch.Tensor]) -> dict[str, tuple[str, object]]:
    """File name and content of weights as the field writes them, by what wrote them."""

    def prefixed(prefix: str) -> dict[str, torch.Tensor]:
        return {prefix + name: value for name, value in state.items()}

    zeros = {name: torch.zeros_like(value) for name, value in state.items()}
    lightning = {"epoch": 1, "global_step": 10, "hyper_parameters": {"lr": 1e-3}}
    return {
        # The given inputs.
        "torch": ("plain.pth", state),
        "DataParallel": ("data_parallel.pth", prefixed("module.")),
        "PyTorch's ImageNet example": ("model_best.pth.tar", {"epoch": 9, "state_dict": prefixed("module.")}),
        "a training": ("wrapped.pth", {"epoch": 9, "state_dict": state}),
        "Lightning": ("last.ckpt", {**lightning, "state_dict": prefixed("model.")}),
        "Hugging Face": ("pytorch_model.bin", state),
        "half precision": ("half.pth", {k: v.half() if v.is_floating_point() else v for k, v in state.items()}),
        # Their siblings.
        "torch.compile": ("compiled.pt", prefixed("_orig_mod.")),
        "torch.compile in DataParallel": ("both.pt", prefixed("module._orig_mod.")),
        "Lightning with another name": ("epoch=3.ckpt", {**lightning, "state_dict": prefixed("backbone.")}),
        "timm with EMA": ("timm.pth.tar", {"state_dict": zeros, "state_dict_ema": state, "args": {"lr": 0.1}}),
        "DeiT": ("deit.pth", {"model": state, "optimizer": {"state": {}}, "epoch": 3}),
        "AveragedModel": ("swa.pt", {"n_averaged": torch.tensor(3), **prefixed("module.")}),
    }


WRITERS = list(published({}))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_checkpoint_is_read_as_the_field_writes_it(tmp_path, writer):
    torch.manual_seed(0)
    state = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=7).state_dict()
    name, content = published(state)[writer]
    torch.save(content, tmp_path / name)
    network = create("resnet14", outputs=2, weights=str(tmp_path / name))
    close = 1e-3 if writer == "half precision" else 0
    for layer in ("conv1.weight", "layer4.0.conv3.weight", "layer4.0.bn3.running_var"):
        torch.testing.assert_close(network.state_dict()[layer], state[layer], rtol=close, atol=close)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_a_bit_that_changed_in_a_pth_is_noticed(tmp_path, place):
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": torch.arange(3000.0)}, path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a file of tensors alone, or a broken one"):
        read_state(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_compressed_parts_of_a_pth_whole_or_damaged_are_one_line(tmp_path, method, share):
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": torch.arange(3000.0)}, path)
    pack(path, method)
    packed = bytearray(path.read_bytes())
    packed[int(share * len(packed)) - 1] ^= 255 * (share < 1)
    path.write_bytes(packed)
    with pytest.raises(ConfigError, match=r"parts are compressed \(.*\); save it by torch.save\)$") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("old", [b"\x80\x02}q\x00.", b"\x80\x02]q\x00.", b"\x80\x02K\x01.", b"(dp0\n.", b"\x80"])
def test_any_old_pickle_is_one_line(tmp_path, old):
    (tmp_path / "old.pth").write_bytes(old)
    with pytest.raises(ConfigError) as caught:
        read_state(tmp_path / "old.pth")
    assert "\n" not in str(caught.value)
