"""A small transformer for signals, and how it wants its inputs."""

from dataclasses import asdict, dataclass

import torch
from torch import nn

from autotransfer.contract.backbone import Backbone

LEVELS, WIDTH = 64, 32


@dataclass(frozen=True)
class SignalFormat:
    """Signals as whole numbers below ``LEVELS``, ``length`` of them, with a mask of those that are there."""

    length: int = 32
    to_json = asdict

    def probe(self, count, seed=0):
        tokens = torch.randint(LEVELS, (count, self.length), generator=torch.Generator().manual_seed(seed))
        mask = torch.arange(self.length) < self.length - torch.arange(count)[:, None] % (self.length // 2)
        return {"tokens": tokens * mask, "mask": mask}


class SignalNet(Backbone):
    """Two transformer layers; features are the mean over what is there of a signal."""

    def __init__(self):
        stages, recipe = ("embedding", "first", "second"), {"plugin": "signals"}
        super().__init__(stages=stages, preprocessing=SignalFormat(), width=WIDTH, recipe=recipe)
        self.embedding = nn.Embedding(LEVELS, WIDTH)
        self.first, self.second = (nn.TransformerEncoderLayer(WIDTH, 4, 64, 0.0, batch_first=True) for _ in range(2))

    def stage_of(self, parameter):
        return self.stages.index(parameter.partition(".")[0])

    def forward_map(self, inputs):
        features = self.first(self.embedding(inputs["tokens"]), src_key_padding_mask=~inputs["mask"])
        return self.second(features, src_key_padding_mask=~inputs["mask"])

    def pool(self, features, inputs=None):
        return torch.stack([row[there].mean(0) for row, there in zip(features, inputs["mask"], strict=True)])


def load_backbone():
    with torch.random.fork_rng(devices=[]):  # random weights; real ones would come from a file beside this one
        torch.manual_seed(0)
        return SignalNet()
