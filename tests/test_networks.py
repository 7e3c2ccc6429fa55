"""The contract of every network: images in, features N×D out; it trains, is saved, can start as the identity."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipes import RECIPE
from torch import Tensor, nn

from robustness_study import losses, networks
from robustness_study.check import check
from robustness_study.classifier import storage
from robustness_study.classifier.inference import to_float
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.networks import Network, wide_resnet
from robustness_study.schema.recipe import Recipe
from robustness_study.training.one_model import fresh_model, train_cell
from robustness_study.training.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = params.read(REPOSITORY / "params.yaml")["loss_config"]
CPU = torch.device("cpu")
SIZE, CLASSES = 32, 4
OWN = networks.names()
RESIDUAL = [name for name in OWN if networks.has_residual_blocks(name)]
RESIDUAL += ["timm/resnet10t", "timm/resnetv2_18"]  # timm's second is a pre-activation network
PLAIN = [*(name for name in OWN if name not in RESIDUAL), "timm/mobilenetv3_small_050", "timm/vit_tiny_patch16_224"]
NAMES = [*RESIDUAL, *PLAIN]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, SIZE, SIZE, 3), dtype=np.uint8)
LABELS = (np.arange(24) % CLASSES).astype(np.uint8)
INDICES = {"train": np.arange(16), "val": np.arange(16, 24)}


def recipe_of(name: str, **changes: Any) -> Recipe:
    return Recipe.model_validate(RECIPE | {"network": name, "stem": "half"} | changes)


def fresh(name: str) -> tuple[nn.Module, int]:
    torch.manual_seed(0)
    return Network(name, "half", SIZE).make_backbone()


def gradients(backbone: nn.Module) -> dict[str, Tensor]:
    """The gradient of each weight for one batch."""
    images = torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    backbone.zero_grad()
    features = backbone.train()(images)
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    found = {name: weight.grad for name, weight in backbone.named_parameters()}
    return {name: grad for name, grad in found.items() if grad is not None}


# --- the contract --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_features_are_n_by_d_and_d_is_measured(name: str) -> None:
    backbone, width = fresh(name)
    assert backbone.training and isinstance(width, int)
    with torch.no_grad():
        features = backbone.eval()(torch.rand(3, 3, SIZE, SIZE))
    assert features.shape == (3, width) and features.dtype == torch.float32 and features.isfinite().all()
    assert (features[0] - features[1]).abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_follow_from_the_seed(name: str) -> None:
    one, other = fresh(name)[0].state_dict(), fresh(name)[0].state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    torch.manual_seed(1)
    another = Network(name, "half", SIZE).make_backbone()[0].state_dict()
    assert any(not torch.equal(one[key], another[key]) for key in one)


@pytest.mark.parametrize("loss_name", ["cross_entropy", "angular"])
@pytest.mark.parametrize("name", NAMES)
def test_network_trains_and_is_saved_and_loaded(name: str, loss_name: str, tmp_path: Path) -> None:
    loss, recipe = losses.make(loss_name, CONFIGS[loss_name]), recipe_of(name, peak_learning_rate=0.01)
    before = fresh_model(IMAGES[INDICES["train"]], CLASSES, loss, recipe, 0)
    model, epochs = train_cell(IMAGES, LABELS, INDICES, CLASSES, loss, recipe, 0, CPU, Progress(1))
    assert np.isfinite([epochs[-1].training_loss, epochs[-1].val_loss]).all()
    old = dict(before.named_parameters())
    assert not all(torch.equal(weight, old[key]) for key, weight in model.named_parameters())
    network = Network(name, "half", SIZE)
    storage.save(tmp_path, model, network, loss, ["a", "b", "c", "d"], {})
    loaded, notes = storage.load(tmp_path, CPU)
    assert (notes["network"], notes["stem"], notes["size"]) == (name, "half", SIZE)
    assert loaded.width == model.width == network.make_backbone()[1]
    images = to_float(torch.from_numpy(IMAGES))
    with torch.no_grad():
        assert torch.equal(loaded(images), model.eval()(images))


@pytest.mark.parametrize("name", RESIDUAL)
def test_blocks_that_start_as_the_identity_learn(name: str) -> None:
    """After one step every weight has a gradient. A block that can never learn would have none."""
    backbone, _ = fresh(name)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    Network(name, "half", SIZE).start_as_identity(backbone)
    changed = [key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])]
    assert changed or name.startswith("timm/")  # timm's own initialisation is already the identity
    optimiser = torch.optim.SGD(backbone.parameters(), lr=0.1)
    gradients(backbone)
    optimiser.step()
    after = gradients(backbone)
    assert after.keys() == dict(backbone.named_parameters()).keys()
    for key, gradient in after.items():
        assert gradient.abs().max() > 0, key


@pytest.mark.parametrize("name", PLAIN)
def test_network_without_residual_blocks_declares_it(name: str) -> None:
    recipe, loss = recipe_of(name, zero_init_residual=True), losses.make("cross_entropy", CONFIGS["cross_entropy"])
    with pytest.raises(StudyError, match="set zero_init_residual to false") as caught:
        fresh_model(IMAGES, CLASSES, loss, recipe, 0)
    assert "\n" not in str(caught.value)


# --- resnet18 ------------------------------------------------------------------------------------------------

# SHA-256 of the whole model's initial state, seed 0, ten classes, as commit 356165b made it, with one network only.
INITIAL = {
    ("imagenet", "cross_entropy"): "e7d527a99fa4ccb92ce0a280fb55e12d890f7c95e8f44cd78b81c18f22028dff",
    ("imagenet", "angular"): "aa772842cb894bb4bd3baaf04720d3e0f6bd9d219417cd942d557fb55f4cf078",
    ("half", "cross_entropy"): "9ec8e5ae83fefdf7d680ac83581c90bea5537a24a6b8eae963c68def0fd2b9f5",
    ("half", "angular"): "ad68e3c25fb9c1419b80d4d200dab7563092523287918cbbf1c2f6fed94b65da",
    ("cifar", "cross_entropy"): "9ec8e5ae83fefdf7d680ac83581c90bea5537a24a6b8eae963c68def0fd2b9f5",
    ("cifar", "angular"): "ad68e3c25fb9c1419b80d4d200dab7563092523287918cbbf1c2f6fed94b65da",
}


@pytest.mark.parametrize(("stem", "loss_name"), INITIAL)
def test_initial_weights_of_resnet18_are_the_recorded_ones(stem: str, loss_name: str) -> None:
    torch.manual_seed(0)
    loss, digest = losses.make(loss_name, CONFIGS[loss_name]), hashlib.sha256()
    model = storage.build(Network("resnet18", stem, SIZE), loss, 10, [0.5] * 3, [0.25] * 3)
    for key, tensor in model.state_dict().items():
        digest.update(f"{key}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    assert digest.hexdigest() == INITIAL[stem, loss_name]


def printed(code: str) -> str:
    """What a fresh process prints that runs this code."""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


BUILD = "import sys, torch; from robustness_study.networks import make; make('resnet18', 'half', 32).make_backbone()"
COMPILER = "print(sorted(name for name in sys.modules if name in ('sympy', 'torch._dynamo', 'torch._dynamo.utils')))"


def test_resnet18_is_built_without_the_compiler() -> None:
    """Its import takes as long as torch's."""
    assert printed(f"{BUILD}; {COMPILER}") == "[]\n"


def test_compiler_works_after_torchvision_was_imported_without_it() -> None:
    checks = """
from torchvision.ops import roi_align
asks = sys.modules[roi_align.__module__].is_compile_supported
compiled = torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1)).item()
import torch._dynamo.utils as real
print(asks is not real.is_compile_supported, asks("cpu") == real.is_compile_supported("cpu"), compiled)
"""
    assert printed(BUILD + checks) == "True True 1.0\n"


def test_torchvision_that_needs_more_of_the_compiler_gets_it() -> None:
    code = """
import sys
from robustness_study.networks._torchvision import without_compiler
with without_compiler():
    import torch
    from torch._dynamo.utils import CompileEventLogger, is_compile_supported
    import torch._dynamo.utils as real
print(CompileEventLogger is real.CompileEventLogger, is_compile_supported("cpu") == real.is_compile_supported("cpu"))
with without_compiler():
    print(sys.modules["torch._dynamo.utils"] is real)
"""
    assert printed(code) == "True True\nTrue\n"


def test_failed_import_leaves_no_stand_in() -> None:
    code = """
import sys
from robustness_study.networks._torchvision import without_compiler
try:
    with without_compiler():
        raise ImportError
except ImportError:
    print("torch._dynamo.utils" in sys.modules)
"""
    assert printed(code) == "False\n"


# --- wide_resnet ---------------------------------------------------------------------------------------------


def test_wide_resnet_is_wrn_16_4() -> None:
    backbone, width = fresh("wide_resnet")
    head = 256 * 10 + 10
    assert width == 256
    assert sum(weight.numel() for weight in backbone.parameters()) + head == 2_748_890  # 2.7 M in the paper
    seen = []
    for block in backbone.get_submodule("blocks"):  # type: ignore[attr-defined]
        block.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
    backbone(torch.rand(2, 3, 32, 32))
    assert seen == [(64, 32, 32)] * 2 + [(128, 16, 16)] * 2 + [(256, 8, 8)] * 2


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(8, 8, 1), (4, 8, 1), (4, 8, 2)])
def test_block_that_starts_as_the_identity_is_its_shortcut(inputs: int, outputs: int, stride: int) -> None:
    torch.manual_seed(0)
    block, images = wide_resnet.Block(inputs, outputs, stride), torch.randn(3, inputs, 6, 6)
    shortcut = images if block.shortcut is None else block.shortcut(torch.relu(block.bn1(images)))
    assert not torch.equal(block(images), shortcut)
    wide_resnet.start_as_identity(block)
    assert torch.equal(block(images), shortcut)


# --- timm ----------------------------------------------------------------------------------------------------


def test_network_of_one_image_size_is_built_for_the_size_in_params() -> None:
    backbone, width = Network("timm/vit_tiny_patch16_224", "half", 48).make_backbone()
    assert backbone.eval()(torch.rand(2, 3, 48, 48)).shape == (2, width) == (2, 192)


@pytest.mark.parametrize(
    ("name", "size"),
    [("timm/vit_tiny_patch16_224", 8), ("timm/maxvit_pico_rw_256", 8), ("timm/inception_v3", 32)],
)
def test_error_for_too_small_images_is_one_line(name: str, size: int) -> None:
    with pytest.raises(StudyError, match=rf"network {name} cannot .* images of {size}×{size} pixels") as caught:
        Network(name, "half", size).make_backbone()
    assert "\n" not in str(caught.value)


def test_low_resolution_is_refused_for_a_network_of_one_image_size() -> None:
    loss = losses.make("cross_entropy", CONFIGS["cross_entropy"])
    with pytest.raises(StudyError, match="vit_tiny_patch16_224 cannot take images of 16×16 pixels"):
        fresh_model(IMAGES, CLASSES, loss, recipe_of("timm/vit_tiny_patch16_224", low_resolution_share=0.5), 0)
    fresh_model(IMAGES, CLASSES, loss, recipe_of("timm/resnet10t", low_resolution_share=0.5), 0)


# --- names ---------------------------------------------------------------------------------------------------

THERE_ARE = f"which does not exist; use one of {', '.join(networks.names())} or timm/NAME"
UNKNOWN = {
    "resnet19": f"network is 'resnet19', {THERE_ARE}",
    "timm": f"network is 'timm', {THERE_ARE}",
    "_timm": f"network is '_timm', {THERE_ARE}",
    "timm/": "network is 'timm/', which does not exist in timm; timm.list_models() lists its networks",
    "timm/resnet10x": "network is 'timm/resnet10x', which does not exist in timm; similar names: resnet10t",
}


@pytest.mark.parametrize(("name", "message"), UNKNOWN.items())
def test_error_for_unknown_network_is_one_line(name: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        networks.make(name, "half", SIZE)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "message"), UNKNOWN.items())
def test_check_names_the_recipe(name: str, message: str) -> None:
    values = params.read(REPOSITORY / "params.yaml")
    values["recipes"]["gpu"]["network"] = name
    with pytest.raises(StudyError) as caught:
        check(values)
    assert str(caught.value).startswith(f"params.yaml: recipes.gpu.{message}")
    values["recipes"]["gpu"]["network"] = "wide_resnet"
    values["recipes"]["cpu"]["network"] = "timm/resnet10t"
    check(values)


def test_error_without_timm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        StudyError, match="network is 'timm/resnet10t', but timm is not installed; run pip install timm"
    ):
        networks.check("timm/resnet10t")


@pytest.mark.parametrize(("name", "imported"), [("wide_resnet", "[]"), ("timm/resnet10t", "['timm', 'torch']")])
def test_torch_is_imported_only_to_look_for_a_network_of_timm(name: str, imported: str) -> None:
    code = (
        f"import sys; from robustness_study import networks; networks.check({name!r}); "
        "print(sorted({'torch', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{imported}\n", "")


@contextmanager
def network_from_source(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Adds one more file to the networks, as a user would."""
    (tmp_path / "mine.py").write_text("from torch import nn\n" + source)
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(tmp_path)])
    try:
        yield networks.make("mine", "half", SIZE)
    finally:
        sys.modules.pop("robustness_study.networks.mine", None)


NO_BLOCKS = "start_as_identity = None\n"
LINEAR = "def make(network):\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * network.size**2, 7))\n"


def test_one_file_adds_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with network_from_source(NO_BLOCKS + LINEAR, tmp_path, monkeypatch) as mine:
        assert "mine" in networks.names()
        backbone, width = mine.make_backbone()
        assert width == 7 and backbone(torch.rand(2, 3, SIZE, SIZE)).shape == (2, 7)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def make(network):\n    return nn.Identity()\n",
            r"network mine returns shape \(1, 3, 32, 32\) for one image; it must",
        ),
        (
            "def make(network):\n    return nn.Linear(5, 5)\n",
            r"network mine cannot take images of 32×32 pixels \(.*mat1",
        ),
    ],
)
def test_network_without_features_is_refused(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        network_from_source(NO_BLOCKS + source, tmp_path, monkeypatch) as mine,
        pytest.raises(StudyError, match=message) as caught,
    ):
        mine.make_backbone()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (NO_BLOCKS, r"mine.py does not define make; add it, as in the other files of its folder"),
        ("def make(network):\n    return nn.Flatten()\n", r"mine.py does not define start_as_identity; add it"),
        ("import absent_library\n", r"mine.py, line 2: the import fails \(ModuleNotFoundError: No module named"),
    ],
)
def test_unusable_file_is_named_when_a_network_is_built(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        network_from_source(source, tmp_path, monkeypatch) as mine,
        pytest.raises(StudyError, match=message) as caught,
    ):
        mine.make_backbone()
    assert "\n" not in str(caught.value)


def test_network_declared_without_blocks_cannot_start_as_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with network_from_source(NO_BLOCKS + LINEAR, tmp_path, monkeypatch) as mine:
        assert not networks.has_residual_blocks("mine")
        with pytest.raises(StudyError, match="network mine has no residual blocks; set zero_init_residual to false"):
            mine.start_as_identity(mine.make_backbone()[0])
