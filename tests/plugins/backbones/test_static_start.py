"""Static embeddings that start from a teacher of texts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fixtures.texts import WORDS, small_tokenizer

import autotransfer
from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, ModelFormatError
from autotransfer.settings import Compute, RunOptions, TrainingOptions
from autotransfer_plugins.backbones._static_folder import load_folder
from autotransfer_plugins.backbones._static_model import StaticEmbeddings
from autotransfer_plugins.backbones._static_start import _kept
from autotransfer_plugins.modalities.text.formats import TokenFormat

WIDTH = 6


@pytest.fixture(scope="module")
def teacher() -> StaticEmbeddings:
    """Static embeddings with random vectors: a teacher like any other."""
    how = TokenFormat(tokenizer=small_tokenizer(), max_length=64)
    size = how.tokenizer.load().get_vocab_size()
    torch.manual_seed(0)
    found = StaticEmbeddings(size, WIDTH, normalize=False, preprocessing=how)
    torch.nn.init.normal_(found.embeddings.weight)
    return found.eval()


def started(name: str, teacher: StaticEmbeddings) -> StaticEmbeddings:
    registry = Registry.load()
    student = registry.rebuild(registry.outline(name, teacher=teacher))
    assert isinstance(student, StaticEmbeddings)
    student.start_from(teacher)
    return student


def test_vectors_are_the_principal_components_of_the_teacher(teacher: StaticEmbeddings) -> None:
    student = started(f"static_{WIDTH}", teacher)
    known, own = (one.preprocessing.tokenizer.load().get_vocab() for one in (teacher, student))  # type: ignore[attr-defined]
    assert known.keys() == own.keys()
    rows = [(known[word], own[word]) for word in WORDS]
    expected = torch.cdist(*[teacher.embeddings.weight[[row for row, _ in rows]]] * 2)
    found = torch.cdist(*[student.embeddings.weight[[row for _, row in rows]]] * 2)
    # The teacher averages a word with nothing else: distances are those of its vectors, up to one factor.
    ratio = found / expected.clamp(min=1e-6)
    off = ratio[~torch.eye(len(WORDS), dtype=torch.bool)]
    torch.testing.assert_close(off, off.mean().expand_as(off), rtol=1e-3, atol=0)


def test_fewer_values_keep_the_largest_components(teacher: StaticEmbeddings) -> None:
    short, whole = started("static_2", teacher), started(f"static_{WIDTH}", teacher)
    first, second = short.embeddings.weight, whole.embeddings.weight[:, :2]
    torch.testing.assert_close(first / first.std(), second / second.std(), rtol=1e-3, atol=1e-4)
    assert whole.embeddings.weight.var(0).argsort(descending=True).tolist() == list(range(WIDTH))


def test_cut_tokenizer_keeps_special_pieces_and_letters(teacher: StaticEmbeddings) -> None:
    # The vocabulary has fewer than 1,000 pieces: all of them stay.
    student = started("static_3_1k", teacher)
    own = student.preprocessing.tokenizer.load()  # type: ignore[attr-defined]
    assert own.encode("film").tokens == ["film"], "nothing stands around a text"
    assert set(own.get_vocab()) <= set(teacher.preprocessing.tokenizer.load().get_vocab())  # type: ignore[attr-defined]
    assert not student.counted[own.token_to_id("[UNK]")]


def test_most_frequent_pieces_stay() -> None:
    vocabulary = {
        piece: row for row, piece in enumerate(("[PAD]", "[unused1]", "[UNK]", "the", "##s", "é", "film", "a"))
    }
    assert _kept(vocabulary, ["[PAD]", "[UNK]"], 5) == ["[PAD]", "[UNK]", "##s", "a", "the"]


def places(*pieces: str) -> dict[str, int]:
    return {piece: place for place, piece in enumerate(pieces)}


def test_pieces_of_another_script_stay_by_their_frequency() -> None:
    # The alphabet stands first, in the order of code points; "щ" is in no piece.
    vocabulary = places("[UNK]", "a", "д", "щ", "film", "да", "##том", "дом", "##д", "##щ", "the")
    assert _kept(vocabulary, ["[UNK]"], 6) == ["[UNK]", "a", "film", "д", "да", "##д"]
    assert _kept(vocabulary, ["[UNK]"], 99)[6:] == ["##том", "дом", "the", "щ", "##щ"]


def test_letters_that_are_words_stay_by_their_frequency() -> None:
    vocabulary = places("[UNK]", "a", "的", "一", "##的", "film", "是")
    assert _kept(vocabulary, ["[UNK]"], 5) == ["[UNK]", "a", "的", "一", "##的"]


def test_student_of_a_russian_teacher_knows_its_words() -> None:
    how = TokenFormat(tokenizer=small_tokenizer(("фильм", "хороший", "größe")), max_length=64)
    teacher = StaticEmbeddings(how.tokenizer.load().get_vocab_size(), WIDTH, normalize=False, preprocessing=how)
    torch.nn.init.normal_(teacher.embeddings.weight)
    student = started("static_3_1k", teacher.eval())
    own = student.preprocessing.tokenizer.load()  # type: ignore[attr-defined]
    assert own.encode("хороший фильм größe").tokens == ["хороший", "фильм", "größe"]


def test_teacher_of_texts_is_needed() -> None:
    registry = Registry.load()
    with pytest.raises(ConfigError, match="name a teacher for texts"):
        registry.outline("static_8")
    with pytest.raises(ConfigError, match="No plugin knows"):
        registry.outline("static_wide")


def test_damaged_recipe_is_refused(teacher: StaticEmbeddings) -> None:
    recipe = Registry.load().outline("static_3", teacher=teacher)
    for broken in ({"tokenizer": "{}"}, {"tokenizer": 1}, {"max_length": 0}):
        with pytest.raises(ModelFormatError):
            Registry.load().rebuild({**recipe, **broken})


@pytest.mark.slow
def test_student_learns_the_features_of_its_teacher(teacher: StaticEmbeddings, tmp_path: Path) -> None:
    about = {"description": "random", "license": "MIT", "label_names": [], "source": {}}
    Registry.load().write(teacher, tmp_path / "zoo" / "teacher", about)
    table = tmp_path / "texts.csv"
    rng = torch.Generator().manual_seed(0)
    texts = [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (5,), generator=rng)) for _ in range(200)]
    table.write_text("text,label\n" + "\n".join(f"{text},{i % 2}" for i, text in enumerate(texts)) + "\n")
    result = autotransfer.pretrain(
        table,
        architecture="static_4",
        out=tmp_path / "zoo" / "student",
        epochs=25,
        teacher="teacher",
        zoo=tmp_path / "zoo",
        training=TrainingOptions(augmentation="none", half=False, batch_size=32, lr=0.05),
        compute=Compute(cache=False, device="cpu"),
        run=RunOptions(progress=False),
    )
    assert result.match is not None
    assert result.match > 0.5, "four of six components"
    assert load_folder(result.folder).width == 4
