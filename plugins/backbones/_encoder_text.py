"""An encoder of text of transformers as a backbone: with stages, with a mask, and with the model's own pooling."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import InputFormat, Inputs
from autotransfer.errors import BackboneError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_stages import find_stages

__all__ = ["TextEncoder"]

# Tokens of the examples that a model is tried with.
_TRIED_LENGTH = 8


class TextEncoder(Backbone):
    """Wraps an encoder of transformers; names in ``state_dict()`` are those of transformers with the prefix ``model.``.

    Args:
        model: A model of ``transformers.AutoModel``, in eval mode.
        recipe: Recipe of the model.
        preprocessing: How it wants its texts; None until a saved model is read.

    Raises:
        BackboneError: The model does not turn tokens (N, L) into features (N, L, width).
    """

    model: Any  # a PreTrainedModel

    def __init__(self, model: Any, recipe: EncoderRecipe, preprocessing: InputFormat | None) -> None:
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # trained for another task, and not what the pooling says
        model.eval()
        config = model.config
        pad = config.pad_token_id if isinstance(config.pad_token_id, int) else 0
        tokens = torch.arange(3 * _TRIED_LENGTH).view(3, _TRIED_LENGTH) % max(config.vocab_size, 1)
        mask = torch.arange(_TRIED_LENGTH) < torch.tensor([[_TRIED_LENGTH], [5], [3]])

        def run(rows: int) -> Tensor:
            return _encode(model, tokens[:rows], mask[:rows], pad)

        try:
            with torch.inference_mode(False), torch.no_grad():
                width = run(3).shape[-1]
                found = find_stages(model, run)
        except Exception as error:  # models raise errors of any kind
            raise BackboneError(
                f"The model of the type {recipe.model_type!r} cannot be used as a backbone: it does not turn tokens "
                f"into a vector for each token: {type(error).__name__}: {one_line(error)}"
            ) from error
        super().__init__(
            stages=found.names,
            preprocessing=cast(InputFormat, preprocessing),
            width=width,
            recipe=recipe.to_json(),
        )
        self.model, self.pooling, self.pad = model, recipe.pooling, pad
        self._stage_of = {f"model.{name}": stage for name, stage in found.of.items()}

    def stage_of(self, parameter: str) -> int:
        """Return the stage of a parameter or buffer, named as in ``state_dict()``.

        Raises:
            BackboneError: The backbone has no such parameter.
        """
        if parameter not in self._stage_of:
            raise BackboneError(f"The backbone has no parameter or buffer {parameter!r}.")
        return self._stage_of[parameter]

    def forward_map(self, inputs: Any) -> Tensor:
        """Map ``tokens`` and their ``mask`` (N, L) to a vector for each token (N, L, width)."""
        return _encode(self.model, inputs["tokens"], inputs["mask"], self.pad)

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Pool (N, L, width) to features (N, width): the first token, the mean, or the maximum of what is there."""
        if self.pooling == "first":
            return features[:, 0]
        there = cast(Any, inputs)["mask"].unsqueeze(-1)
        if self.pooling == "max":
            return features.masked_fill(~there, -torch.inf).amax(1)
        summed = features.masked_fill(~there, 0.0).sum(1, dtype=torch.float32)
        mean: Tensor = (summed / there.sum(1)).to(features.dtype)
        return mean


def _encode(model: Any, tokens: Tensor, mask: Tensor, pad: int) -> Tensor:
    # Some models count positions by the tokens that are not padding.
    filled = tokens.masked_fill(~mask, pad)
    features: Tensor = model(input_ids=filled, attention_mask=mask.long()).last_hidden_state
    return features
