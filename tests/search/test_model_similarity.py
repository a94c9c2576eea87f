"""What is known of models without running them, and how similar they are by that."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from autotransfer.contract.specs import BackboneSpec
from autotransfer.search.model_similarity import ModelInfo, Similarity, knows, model_info


def _never() -> None:
    raise AssertionError("nothing may be loaded")


def _spec(name: str, source: str = "") -> BackboneSpec:
    return BackboneSpec(name=name, modality="image", load=_never, source=source, input_size=(224, 224))  # type: ignore[arg-type]


def test_names_are_as_similar_as_scikit_learn_says() -> None:
    names = ["google/vit-base-patch16-224", "facebook/deit-base-patch16-224", "a/x", "b/vit_large"]
    models = [ModelInfo(name=name) for name in names]
    plain = [re.sub(r"[-_/]", " ", name.rsplit("/", 1)[-1]) + " ." for name in names]
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit_transform(plain)
    similarity = Similarity(models).between(models, models)
    assert similarity[1] == pytest.approx((letters @ letters.T).toarray())
    assert similarity.shape == (1 + Similarity.KINDS, 4, 4)


def test_the_first_of_a_name_is_the_same_with_its_owner() -> None:
    models = [ModelInfo(name=name) for name in ("roberta-base", "FacebookAI/roberta-base", "somebody/roberta-base")]
    same = Similarity(models).between(models, models)[0]
    assert same.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_forms_of_a_backbone_are_the_same_model() -> None:
    first, form = model_info(_spec("vit_tiny.in1k", "ImageNet-1k")), model_info(_spec("vit_tiny.in1k@160"))
    assert form.name == first.name
    assert first.architecture == "vit"
    assert (first.source, first.classes, first.input_size) == ("imagenet", 1000.0, 224)
    assert model_info(_spec("a", "ImageNet-22k, then ImageNet-1k")).source == "imagenet"
    assert model_info(_spec("a", "ImageNet-21k")).source == "imagenet-21k"


def test_a_number_that_no_model_has_says_nothing() -> None:
    models = [ModelInfo(name="a"), ModelInfo(name="b")]
    large = [ModelInfo(name="c", parameters=1e9), ModelInfo(name="d", parameters=1e6)]
    assert np.all(Similarity(models).between(large, large)[2] == 1.0)
    known = Similarity([*models, *large]).between(large, large)[2]
    assert known[0, 1] < known[0, 0] == 1.0


def test_models_of_nothing_in_common_have_no_similarity() -> None:
    similarity = Similarity([])
    assert similarity.between([ModelInfo(name="a")], []).shape == (1 + Similarity.KINDS, 1, 0)
    apart = similarity.between([ModelInfo(name="abc", source="x")], [ModelInfo(name="xyz", source="y")])
    assert apart[0, 0, 0] == apart[3, 0, 0] == apart[4, 0, 0] == 0.0


def test_a_model_with_a_word_of_the_target_knows_it() -> None:
    models = [ModelInfo(name="somebody/resnet-cifar100"), ModelInfo(name="a", source="cifar100"), ModelInfo(name="b")]
    assert knows("cifar100", models).tolist() == [1, 1, 0]
    assert knows("", models).tolist() == [0, 0, 0]
