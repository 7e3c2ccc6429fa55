"""How an audit computes with a model of any form."""

from __future__ import annotations

import torch
from torch import nn

from robustness_study.audit.wrapped import Audited, keeps_something
from robustness_study.classifier.batches import in_batches


class Keeps(nn.Module):
    """A model whose head reads what a hook kept: threads would mix it up."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last, self.kept = nn.Linear(27, 27), nn.Linear(27, 10), dict[str, torch.Tensor]()
        self.body.register_forward_hook(lambda module, given, found: self.kept.update(body=found))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.body(images.flatten(1))
        torch.rand(600, 600).inverse()  # time for another thread
        return self.last(self.kept["body"])


class KeepsAttribute(Keeps):
    def __init__(self) -> None:
        super().__init__()
        self.body._forward_hooks.clear()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.kept_body = self.body(images.flatten(1))
        return self.last(self.kept_body)


def test_a_model_that_keeps_something_is_used_by_one_thread_at_a_time() -> None:
    given = torch.rand(64, 3, 3, 3)
    assert keeps_something(Keeps(), given[:2]) and keeps_something(KeepsAttribute(), given[:2])
    assert not keeps_something(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(27), nn.Linear(27, 10)).eval(), given[:2])
    model = Keeps()
    wanted = model(given)
    audited_model = Audited(model, None, None)
    audited_model.one_at_a_time()
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = in_batches(torch.no_grad()(audited_model), 4, given)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, wanted)


def test_a_layer_that_feeds_tokens_or_a_map_counts_as_its_mean() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 10)

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return self.head(given.flatten(2).transpose(1, 2)).mean(1)

    given = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(Audited(Tokens(), None, None).features(given), given.mean((2, 3)))
    pooled = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 10))
    of_map = Audited(pooled, None, None, "1").features(given)
    torch.testing.assert_close(of_map, pooled[0](given).mean((2, 3)))
