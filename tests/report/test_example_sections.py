"""Single examples: each says what it is, what was predicted, and how surely."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from autotransfer.analysis.attention import Attention
from autotransfer.analysis.label_errors import LabelError, LabelErrors
from autotransfer.analysis.worst_errors import WorstError
from autotransfer.contract.preview import Preview, Words
from autotransfer.report.example_sections import example_sections
from autotransfer.report.page import Gallery, Section

SHOWN = Preview(media_type="text/plain", text="a b", words=(Words(text="a ", weight=0.5), Words(text="b")))


def sections(**analysis: Any) -> dict[str, Section]:
    known = {"worst_errors": (), "label_errors": LabelErrors(), "attention": ()}
    model = SimpleNamespace(modality=SimpleNamespace(noun="text"))
    found = SimpleNamespace(analysis=SimpleNamespace(**{**known, **analysis}), model=model)
    return {section.id: section for section in example_sections(found)}  # type: ignore[arg-type]


def galleries(section: Section) -> list[Gallery]:
    return [block for block in section.blocks if isinstance(block, Gallery)]


def test_without_examples_there_is_no_section() -> None:
    assert sections() == {}


def test_an_error_says_truth_and_prediction() -> None:
    worst = WorstError(row=3, name="a/b.png", true="ant", predicted="bee", probability=0.97, loss=4.0, preview=SHOWN)
    (card,) = galleries(sections(worst_errors=(worst,))["worst-errors"])[0].cards
    assert card.lines == (("true", "ant"), ("predicted", "bee (97%)"))
    assert (card.title, card.preview, card.tone) == ("a/b.png", SHOWN, "bad")


def test_an_error_of_one_label_of_several_names_it() -> None:
    worst = WorstError(row=3, name="n", true=["x"], predicted=[], label="x", probability=0.9, loss=4.0)
    (card,) = galleries(sections(worst_errors=(worst,))["worst-errors"])[0].cards
    assert card.lines == (("true", "x"), ("predicted", "none"), ("wrong label", "x (90%)"))


def test_an_error_of_a_value_says_how_far_it_is_off() -> None:
    worst = WorstError(row=3, name="n", true=1.0, predicted=3.5, loss=2.5)
    (card,) = galleries(sections(worst_errors=(worst,))["worst-errors"])[0].cards
    assert card.lines[-1] == ("off by", "2.50 standard deviations")


def suspected(estimated: int | None, *, label: str | None = None) -> LabelErrors:
    rows = tuple(
        LabelError(
            row=row,
            name=str(row),
            given="ant",
            suggested="bee",
            label=label,
            score=0.1,
            probability_given=0.02,
            probability_suggested=0.9,
            suspected=row < 14,
        )
        for row in range(20)
    )
    return LabelErrors(worst=rows, estimated=estimated, examined=100)


def test_suspected_labels_are_shown_with_both_probabilities() -> None:
    section = sections(label_errors=suspected(14))["label-errors"]
    (gallery,) = galleries(section)
    assert gallery.cards[0].lines == (("labelled", "ant (2%)"), ("looks like", "bee (90%)"))
    assert [card.tone for card in gallery.cards].count("caution") == 14
    assert gallery.shown == 12
    assert "About 14 of 100 labels" in section.lead


def test_labels_of_one_example_count_each_by_itself() -> None:
    assert "counts by itself" not in sections(label_errors=suspected(14))["label-errors"].lead
    assert "Each label or target of an example counts by itself." in (
        sections(label_errors=suspected(14, label="ant"))["label-errors"].lead
    )


def test_labels_are_in_doubt_where_none_is_wrong() -> None:
    section = sections(label_errors=suspected(0))["label-errors"]
    assert section.title == "Labels in doubt"
    assert "none of 100 labels is wrong" in section.lead
    assert "may be wrong" not in section.lead


def test_a_poor_model_judges_no_labels() -> None:
    assert "label-errors" not in sections(label_errors=suspected(60))
    assert "label-errors" in sections(label_errors=suspected(None))


def test_attention_stands_by_wrong_and_right() -> None:
    rows = [
        Attention(row=0, name="0", true="a", predicted="b", label="b", probability=0.9, correct=False, preview=SHOWN),
        Attention(row=1, name="1", true="a", predicted="a", label="a", probability=0.8, correct=True, preview=SHOWN),
    ]
    section = sections(attention=tuple(rows))["attention"]
    wrong, right = galleries(section)
    assert "worst errors" in wrong.title
    assert wrong.cards[0].lines == (("true", "a"), ("what speaks for", "b (90%)"))
    assert [gallery.cards[0].tone for gallery in (wrong, right)] == ["bad", "good"]
    assert "Blue" in section.lead
