"""The model card of what was exported."""

from __future__ import annotations

from collections.abc import Mapping

from autotransfer.model.export.decisions import advice
from autotransfer.model.transfer_model import TransferModel
from autotransfer.report.card_usage import with_usage
from autotransfer.report.markdown import front_matter

__all__ = ["USAGES", "card_of"]

USAGES: Mapping[str, str] = {
    "onnx": """```python
import onnxruntime

session = onnxruntime.InferenceSession("FILE.onnx")
print(session.get_modelmeta().custom_metadata_map)  # labels, inputs, and what it was trained on
print(session.run(None, INPUTS))
```""",
    "torch": """```python
import torch

model = torch.export.load("FILE.pt2").module()
print(model(INPUTS))
```""",
}
"""How to predict with a file of each format, in Markdown; formats that are folders bring their own text."""


def card_of(model: TransferModel, library: str, usage: str) -> str:
    """Return the model's card with how to predict with a library; a short one where the model has none.

    Args:
        model: The model.
        library: What the hub calls the library.
        usage: How to predict with it, in Markdown.
    """
    where = "`thresholds` of `task` in its metadata" if library in USAGES else "`thresholds` in `config.json`"
    parts = [part for part in (usage, advice(model.task, where)) if part]
    return with_usage(model.card or _short_card(model), library, "\n\n".join(parts))


def _short_card(model: TransferModel) -> str:
    task, modality = model.task, model.modality
    about = {
        "library_name": "autotransfer",
        "pipeline_tag": modality.hub_task if task.classes else "",
        "tags": ["autotransfer", "transfer-learning", task.kind, modality.name],
    }
    return f"{front_matter(about)}\n\n# {modality.noun}s, {task.kind}\n"
