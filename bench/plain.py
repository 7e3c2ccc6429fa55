"""The reference for speed: the plain training loop that the studies used.

It trains torchvision's unchanged ResNet-18 with one output per class: Adam with a learning rate of 1e-3, batches of 128
from a `DataLoader`, float32, no augmentation, no learning rate schedule.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BATCH_SIZE = 128


def model(classes: int, stem: str = "imagenet") -> nn.Module:
    """The ResNet-18 of torchvision. `stem` differs from torchvision's only when the speeds of stems are compared.

    Nothing of this project, such as its convolution, may make the reference faster or slower.
    """
    from torchvision.models.resnet import resnet18

    network = resnet18(weights=None, num_classes=classes)
    if stem != "imagenet":
        network.conv1 = nn.Conv2d(3, 64, 3, stride={"half": 2, "cifar": 1}[stem], padding=1, bias=False)
        network.maxpool = nn.Identity()
    return network


def batches(images: np.ndarray, labels: np.ndarray) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Shuffled batches of float32 images N×3×H×W, scaled to [−1, 1], and labels."""
    floats = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    dataset = TensorDataset(floats.contiguous(), torch.from_numpy(labels.astype(np.int64)))
    return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)


def train(network: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int, on: torch.device) -> None:
    """Train the network in place."""
    for _ in steps(network, images, labels, epochs, on):
        pass


def steps(network: nn.Module, images: np.ndarray, labels: np.ndarray, epochs: int, on: torch.device) -> Iterator[int]:
    """Train the network in place; yields the number of images after each step."""
    network.to(on).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for some, of_some in batches(images, labels):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(some.to(on)), of_some.to(on))
            loss.backward()
            optimiser.step()
            loss.item()  # a plain loop reads the loss to print it
            yield len(some)


@torch.no_grad()
def accuracy(network: nn.Module, images: np.ndarray, labels: np.ndarray, on: torch.device) -> float:
    """The share of images that the network classifies correctly."""
    network.eval()
    floats = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    found = torch.cat([network(batch.to(on)).argmax(1).cpu() for batch in floats.split(500)])
    return (found.numpy() == labels).mean().item()
