"""Static embeddings: each token has one vector, whatever stands beside it, and a text is the mean of its tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import InputFormat, Inputs
from autotransfer.errors import BackboneError
from autotransfer_plugins.modalities.text.formats import TokenFormat

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["PLUGIN", "StaticEmbeddings", "build", "no_words"]

PLUGIN = "static_embeddings"
# The largest public matrix has 500,000 rows of 256.
_MAX_VALUES, _MAX_WIDTH = 2**30, 2**14


class StaticEmbeddings(Backbone):
    """A matrix of vectors, of which the mean over the known words of a text is taken.

    Tokens that stand for no word do not count: unknown words, and what the tokenizer's template adds. The mean is
    scaled to length 1 where the matrix was made so. Source: Tulkens and van Dongen, Model2Vec (2024).

    Args:
        vocabulary: Number of tokens.
        width: Length of a vector.
        normalize: Whether the mean is scaled to length 1.
        preprocessing: How it wants its texts; None until a saved model is read.
    """

    counted: Tensor

    def __init__(self, vocabulary: int, width: int, *, normalize: bool, preprocessing: InputFormat | None) -> None:
        super().__init__(
            stages=("embeddings",),
            preprocessing=cast(InputFormat, preprocessing),
            width=width,
            recipe={"plugin": PLUGIN, "vocabulary": vocabulary, "width": width, "normalize": normalize},
        )
        self.embeddings = nn.Embedding(vocabulary, width, _weight=torch.empty(vocabulary, width))
        self.register_buffer("counted", torch.ones(vocabulary, dtype=torch.bool))
        self.normalize = normalize

    def stage_of(self, parameter: str) -> int:
        """Return 0, the only stage."""
        return 0

    def start_from(self, teacher: Backbone) -> None:
        """Take what a teacher of texts makes of each token alone, as Model2Vec does."""
        from autotransfer_plugins.backbones._static_start import vectors_of

        how = self.preprocessing
        if not isinstance(how, TokenFormat):
            return
        if (vectors := vectors_of(teacher, how.tokenizer, self.width)) is not None:
            with torch.no_grad():
                self.embeddings.weight.copy_(vectors)
            self.counted[no_words(how.tokenizer.load())] = False

    def forward_map(self, inputs: Any) -> Tensor:
        """Return the vector of each token (N, L, width)."""
        return cast(Tensor, self.embeddings(inputs["tokens"]))

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Average over the known words; a text without any has the vector 0."""
        given = cast(Mapping[str, Tensor], inputs)
        weight = (self.counted[given["tokens"]] & given["mask"]).to(features.dtype)
        total = torch.einsum("nl,nlw->nw", weight, features)
        mean = total / weight.sum(1, keepdim=True).clamp(min=1)
        return F.normalize(mean, dim=1) if self.normalize else mean


def build(recipe: Mapping[str, Any], preprocessing: InputFormat | None = None) -> StaticEmbeddings:
    """Build a backbone from its recipe, which may come from a stranger, with random weights.

    Raises:
        BackboneError: The recipe is damaged, or asks for a matrix that is too large.
    """
    vocabulary, width, normalize = (recipe.get(key) for key in ("vocabulary", "width", "normalize"))
    if type(vocabulary) is not int or type(width) is not int or type(normalize) is not bool:
        raise BackboneError("The recipe of static embeddings has a vocabulary, a width, and whether to normalize.")
    if vocabulary < 1 or not 0 < width <= _MAX_WIDTH or vocabulary * width > _MAX_VALUES:
        raise BackboneError(f"Static embeddings have at most 2^30 values; got {vocabulary} vectors of {width}.")
    backbone = StaticEmbeddings(vocabulary, width, normalize=normalize, preprocessing=preprocessing)
    nn.init.normal_(backbone.embeddings.weight)
    return backbone


def no_words(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that stand for no word: unknown words, padding, and what the template adds."""
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id")
    if isinstance(model.get("unk_token"), str):
        unknown = tokenizer.token_to_id(model["unk_token"])
    special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    return sorted(special | ({unknown} if isinstance(unknown, int) else set()))
