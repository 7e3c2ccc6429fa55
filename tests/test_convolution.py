"""The convolution against torch's: values, gradients, and that every gradient is written at any image size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustness_study.networks import Network
from robustness_study.networks import _convolution as convolution
from robustness_study.networks._convolution import Convolution3x3


def pair(stride: int) -> tuple[nn.Conv2d, Convolution3x3]:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 8, 3, stride=stride, padding=1, bias=False).double()
    return plain, Convolution3x3.of(plain)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (2, 4), (4, 4), (5, 5), (6, 6), (7, 2)])
def test_values_and_gradients_equal_those_of_a_convolution(stride: int, size: tuple[int, int]) -> None:
    plain, ours = pair(stride)
    images = torch.randn(3, 6, *size, dtype=torch.float64)
    found = []
    for layer in (plain, ours):
        seen = images.clone(memory_format=torch.channels_last).requires_grad_()
        out = layer(seen)
        weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
        found.append((out, *torch.autograd.grad((out * weights).sum(), (seen, layer.weight))))
    for expected, result in zip(*found, strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    assert found[1][0].is_contiguous(memory_format=torch.channels_last)


def test_conversion_keeps_the_state_dict_and_draws_no_random_numbers() -> None:
    plain, _ = pair(1)
    before = torch.get_rng_state()
    ours = Convolution3x3.of(plain)
    assert torch.equal(torch.get_rng_state(), before)
    assert ours.weight is plain.weight and list(ours.state_dict()) == ["weight"]


def test_large_images_use_the_librarys_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below and above the size limit: the test checks which module computes the result."""
    _, ours = pair(1)
    products = []

    def linear(pixels: Tensor, weights: Tensor) -> Tensor:
        products.append(len(pixels))
        return nn.functional.linear(pixels, weights)

    monkeypatch.setattr(convolution, "linear", linear)
    for side in (3, 4):
        ours(torch.randn(2, 6, side, side, dtype=torch.float64))
    assert products == [2 * 9]


@pytest.mark.parametrize(
    ("name", "ours", "others"), [("resnet18", 16, 4), ("resnet18_narrow", 16, 4), ("wide_resnet", 13, 3)]
)
def test_every_3x3_convolution_of_the_blocks_is_this_one(name: str, ours: int, others: int) -> None:
    """The others are the stem of resnet18, and 1×1 convolutions of shortcuts."""
    backbone, _ = Network(name, "cifar", 32).make_backbone()
    layers = [type(layer).__name__ for layer in backbone.modules() if isinstance(layer, nn.Conv2d)]
    assert layers.count("Convolution3x3") == ours and layers.count("Conv2d") == others


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("resnet18", "imagenet"),
        ("resnet18", "half"),
        ("resnet18", "cifar"),
        ("resnet18_narrow", "half"),
        ("wide_resnet", "cifar"),
    ],
)
@pytest.mark.parametrize("side", [4, 8, 16])
def test_every_gradient_is_written(name: str, stem: str, side: int) -> None:
    """torch 2.15's bfloat16 convolution does not write some gradients on 1×1 pixels: they keep old memory.

    The test first fills memory with a known value, which would then be seen.
    """
    torch.manual_seed(0)
    network = Network(name, stem, side).make_backbone()[0].to(memory_format=torch.channels_last)
    images = torch.rand(4, 3, side, side).to(memory_format=torch.channels_last)
    for _ in range(2):
        junk = [torch.full((512, 512, 3, 3), 1e30, dtype=dtype) for dtype in (torch.bfloat16, torch.float32) * 3]
        del junk
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            network(images).float().square().mean().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() < 1e6, name
