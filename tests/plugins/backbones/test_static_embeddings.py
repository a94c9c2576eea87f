"""Static embeddings: folders of several makers, the mean over known words, and writing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fixtures.texts import WORDS, small_tokenizer
from safetensors.torch import save_file
from torch import Tensor

from autotransfer.contract.registry import Registry
from autotransfer.errors import BackboneError, ModelFormatError, WeightsUnavailableError
from autotransfer.pipeline.prepare import load_first
from autotransfer.runtime.device import Device
from autotransfer.testing import check_backbone
from autotransfer_plugins.backbones import static_embeddings
from autotransfer_plugins.backbones._static_folder import load_folder
from autotransfer_plugins.backbones._static_specs import folder_spec

CPU = Device(torch=torch.device("cpu"), half=None)
ROWS, WIDTH = len(WORDS) + 4, 6


def write(folder: Path, tensors: dict[str, Tensor], **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").write_bytes(small_tokenizer().data)
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "hidden_dim": WIDTH, **config}))
    return folder


@pytest.fixture
def matrix() -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_folder_keeps_the_contract(tmp_path: Path, matrix: Tensor) -> None:
    spec = folder_spec(write(tmp_path / "words", {"embeddings": matrix}), "words")
    assert (spec.parameters, spec.input_size) == (ROWS * WIDTH, (512,))
    check_backbone(spec, static_embeddings.rebuild_backbone)


@pytest.mark.parametrize("normalize", [False, True])
def test_features_are_the_mean_over_known_words(tmp_path: Path, matrix: Tensor, normalize: bool) -> None:
    backbone = load_folder(write(tmp_path / "words", {"embeddings": matrix}, normalize=normalize))
    tokens = torch.tensor([[2, 5, 6, 1, 3], [2, 1, 3, 0, 0]])  # [CLS] film was [UNK] [SEP], and [CLS] [UNK] [SEP]
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    features = backbone({"tokens": tokens, "mask": mask})
    expected = (matrix[5] + matrix[6]) / 2
    expected = expected / expected.norm() if normalize else expected
    torch.testing.assert_close(features, torch.stack([expected, torch.zeros(WIDTH)]))


def test_factors_rows_and_scale_make_the_vectors(tmp_path: Path, matrix: Tensor) -> None:
    rows, factors = torch.arange(ROWS) % 5, torch.rand(ROWS)
    few = load_folder(write(tmp_path / "few", {"embeddings": matrix[:5], "mapping": rows, "weights": factors}))
    torch.testing.assert_close(few.embeddings.weight.detach(), matrix[rows] * factors[:, None])
    scale = matrix.abs().amax(0)
    whole = load_folder(write(tmp_path / "int8", {"weight": (matrix / scale * 127).round().char(), "scale": scale}))
    torch.testing.assert_close(whole.embeddings.weight.detach(), matrix, atol=0.02, rtol=0)


def test_written_backbone_is_read_again(tmp_path: Path, matrix: Tensor) -> None:
    backbone = load_folder(write(tmp_path / "words", {"embeddings": matrix}, normalize=True, max_length=64))
    about = {"license": "MIT", "description": "made of words"}
    classifier = (torch.ones(2, WIDTH), torch.zeros(2))
    assert static_embeddings.write_backbone(backbone, classifier, about, tmp_path / "zoo" / "written")
    spec = Registry.load((tmp_path / "zoo",)).backbone("written")
    assert (spec.modality, spec.license, spec.source, spec.input_size) == ("text", "MIT", "made of words", (64,))
    again = spec.load()
    inputs = backbone.preprocessing.probe(3)
    assert again.preprocessing == backbone.preprocessing
    torch.testing.assert_close(again(inputs), backbone(inputs), atol=1e-3, rtol=1e-3)


def test_folders_that_do_not_fit_are_refused(tmp_path: Path, matrix: Tensor) -> None:
    broken: dict[str, dict[str, Tensor]] = {
        "vectors for 7": {"embeddings": matrix[:7]},
        "no single matrix": {"a": matrix, "b": matrix * 2},
        "not finite": {"embeddings": matrix / 0},
        "do not go together": {"embeddings": matrix, "weights": torch.ones(3)},
    }
    for i, (reason, tensors) in enumerate(broken.items()):
        with pytest.raises(BackboneError, match=reason):
            load_folder(write(tmp_path / str(i), tensors))


@pytest.mark.parametrize("change", [{"vocabulary": 10**9, "width": 512}, {"width": "6"}, {"normalize": 1}])
def test_damaged_recipes_are_refused(change: dict[str, object]) -> None:
    recipe = {"plugin": "static_embeddings", "vocabulary": 4, "width": 6, "normalize": True}
    assert static_embeddings.rebuild_backbone(recipe) is not None
    with pytest.raises(ModelFormatError):
        static_embeddings.rebuild_backbone({**recipe, **change})
    assert static_embeddings.rebuild_backbone({"plugin": "timm"}) is None


@pytest.mark.shared
def test_glove_finds_neighbours_of_king(shared: Path) -> None:
    spec = Registry.load((shared / "zoo" / "text",)).backbone("glove_6b_50d_60k")
    backbone = spec.load()
    assert isinstance(backbone.embeddings, torch.nn.Embedding)
    vectors = torch.nn.functional.normalize(backbone.embeddings.weight.detach(), dim=1)
    tokenizer = backbone.preprocessing.tokenizer.load()  # type: ignore[attr-defined]
    near = (vectors @ vectors[tokenizer.token_to_id("king")]).topk(4).indices.tolist()
    assert [tokenizer.id_to_token(i) for i in near] == ["king", "prince", "queen", "ii"]


@pytest.fixture
def hub(tmp_path: Path, matrix: Tensor, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with the repository ``someone/words``, and no network."""
    repository = tmp_path / "hub" / "models--someone--words"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1" * 40)
    (repository / "snapshots").mkdir()
    write(repository / "snapshots" / ("1" * 40), {"embeddings": matrix}, max_length=32)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository


@pytest.mark.parametrize("name", ["static:someone/words", "someone/words", "hf-hub:someone/words"])
def test_repository_of_the_hub_is_read_from_the_cache(hub: Path, matrix: Tensor, name: str) -> None:
    spec = Registry.load(()).backbone(name)
    assert (spec.name, spec.modality, spec.weights, spec.input_size) == (name, "text", "hub someone/words", (32,))
    assert spec.check is not None
    spec.check()
    backbone = spec.load()
    torch.testing.assert_close(backbone.embeddings.weight.detach(), matrix)
    assert backbone.preprocessing.max_length == 32
    assert spec.load_at is not None
    assert spec.load_at(16).preprocessing.max_length == 16


def test_repository_that_is_not_here_says_what_to_do(hub: Path) -> None:
    spec = Registry.load(()).backbone("static:someone/absent")
    assert spec.check is not None
    with pytest.raises(WeightsUnavailableError, match=r"someone/absent .* HF_HUB_OFFLINE .* AUTOTRANSFER_ZOO"):
        spec.check()
    with pytest.raises(WeightsUnavailableError):
        spec.load()


def test_near_duplicates_are_left_to_encoders(tmp_path: Path, matrix: Tensor) -> None:
    words = folder_spec(write(tmp_path / "words", {"embeddings": matrix}), "words")
    encoder = replace(words, name="encoder", tells_near_duplicates=True)
    assert load_first([words], CPU) is None  # "what is a film ?" and "what is a zebra ?" have equal features
    first = load_first([words, encoder], CPU)
    assert first is not None
    assert first.spec.name == "encoder"
