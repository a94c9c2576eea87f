"""Checkpoints of transformers: its pipelines answer as the model does, from the same texts."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.texts import small_tokenizer
from huggingface_hub import ModelCard

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.errors import ExportError
from autotransfer.model.transfer_model import TransferModel
from autotransfer.settings import Compute

pytestmark = pytest.mark.slow  # importing transformers takes seconds

SMALL = {
    **{"vocab_size": 19, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    **{"max_position_embeddings": 40, "pad_token_id": 0},
}
TEXTS = [f"the {noun} was {how} {word} !" for noun in ("film", "plot", "actor") for how in ("very", "not", "a")
         for word in ("good", "bad", "fine", "boring")]  # fmt: skip
LABELS = ["good" if ("good" in text or "fine" in text) else "bad" for text in TEXTS]


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., TransferModel]:
    """Return a function that trains a logistic regression on a small encoder of a family with random weights."""

    def train(name: str = "tiny", targets: Any = LABELS, head: str = "logistic", **config: Any) -> TransferModel:
        from transformers import AutoConfig, AutoModel

        torch.manual_seed(0)
        folder = tmp_path / "zoo" / "tiny"
        AutoModel.from_config(AutoConfig.for_model(**{"model_type": "bert", **SMALL, **config})).save_pretrained(folder)
        (folder / "tokenizer.json").write_bytes(small_tokenizer().data)
        compute = Compute(cache=False, device="cpu")
        candidate = Candidate(backbone=name, head=head)
        model = autotransfer.evaluate(candidate, TEXTS, targets, zoo=tmp_path / "zoo", compute=compute).model
        return replace(model, device=replace(model.device, half=None))  # checkpoints answer in float32

    return train


def test_a_pipeline_answers_as_the_model_does(train: Callable[..., TransferModel], tmp_path: Path) -> None:
    from transformers import pipeline

    model = train()
    report = model.export(tmp_path / "out", format="transformers", check_data=TEXTS)
    assert report.agreement.holds
    classify = pipeline("text-classification", model=str(tmp_path / "out"), top_k=None, device="cpu")
    found = [{row["label"]: row["score"] for row in rows} for rows in classify(TEXTS[:8], truncation=True)]
    expected = model.predict_proba(TEXTS[:8])
    np.testing.assert_allclose([[row[label] for label in model.task.classes] for row in found], expected, atol=1e-5)


def test_the_card_says_how_transformers_loads_it(train: Callable[..., TransferModel], tmp_path: Path) -> None:
    train().export(tmp_path / "out", format="transformers", check_data=TEXTS)
    text = (tmp_path / "out" / "README.md").read_text()
    assert ModelCard(text).data.library_name == "transformers"
    assert ModelCard(text).data.pipeline_tag == "text-classification"
    assert 'pipeline("text-classification", model="FOLDER"' in text


@pytest.mark.parametrize("targets", [LABELS, [[label, "any"] for label in LABELS]])
def test_the_pipeline_decides_by_the_thresholds(
    targets: Any, train: Callable[..., TransferModel], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = train(targets=targets)
    # The labels at one half are all wrong: each threshold is between its probability and one half.
    thresholds = tuple((0.5 + float(value)) / 2 for value in model.predict_proba(["A new text."])[0])
    model = replace(model, temperature=1.7, task=replace(model.task, thresholds=thresholds))
    model.export(tmp_path / "out", format="transformers", check_data=TEXTS)
    card = (tmp_path / "out" / "README.md").read_text()
    snippets = "".join(re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL))
    exec(snippets.replace("FOLDER", str(tmp_path / "out")), {})
    predicted = model.predict(["A new text."])[0]
    found = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == ({predicted} if model.task.single_label else set(predicted))


def test_thresholds_of_a_source_are_not_inherited(train: Callable[..., TransferModel], tmp_path: Path) -> None:
    train(thresholds={"good": 0.1}).export(tmp_path / "out", format="transformers", check_data=TEXTS)
    assert "thresholds" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_values_come_out_of_the_class_for_classification(train: Callable[..., TransferModel], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = train(targets=[len(text) * 100.0 + 0.5 for text in TEXTS], head="ridge")
    model.export(tmp_path / "out", format="transformers", check_data=TEXTS)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")(TEXTS[:5], padding=True, return_tensors="pt")
    with torch.inference_mode():
        found = loaded(**tokens).logits[:, 0].numpy()
    assert loaded.config.problem_type == "regression"
    np.testing.assert_allclose(found, model.predict(TEXTS[:5]), rtol=1e-4)


def test_the_mean_of_the_tokens_is_refused_with_a_reason(train: Callable[..., TransferModel], tmp_path: Path) -> None:
    model = train(name="tiny@mean")
    with pytest.raises(ExportError, match=r"pools its tokens by the mean.*type 'bert' takes the first token.*onnx"):
        model.export(tmp_path / "out", format="transformers", check_data=TEXTS)
