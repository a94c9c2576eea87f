"""Backbones of many forms: the next form is tried where the one before was no worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from autotransfer.candidate import Candidate
from autotransfer.contract.modality import Modality
from autotransfer.contract.specs import BackboneSpec
from autotransfer.search.decisions import Decisions
from autotransfer.search.fine_tuning import _first_forms
from autotransfer.search.screening import Screening
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.search.variants import offer_variants

FORMS = ("a", "a@2", "a@3", "a@4")
CHAIN = dict(zip(FORMS[1:], FORMS, strict=False))


class ManyForms(Modality):
    """A modality whose backbones have four forms."""

    name = "many"

    def variants(self, specs: Any, items: Any) -> Any:
        """Return them, another one than its own first."""
        return [(form(f"{spec.name}@2"), spec, form(f"{spec.name}@3"), form(f"{spec.name}@4")) for spec in specs]


def form(name: str) -> BackboneSpec:
    size = (int(name.partition("@")[2] or 1),)
    return BackboneSpec(name=name, modality="many", load=lambda: None, input_size=size)  # type: ignore[arg-type, return-value]


def test_forms_follow_one_another() -> None:
    offered = offer_variants([form("a")], (), ManyForms(), ())
    assert [spec.name for spec in offered.first] == ["a@2"]
    assert offered.after == {"a": "a@2", "a@3": "a", "a@4": "a@3"}
    assert sorted(spec.name for spec in offered.backbones) == ["a", "a@2", "a@3", "a@4"]
    assert offered.unusual == {"a@2"}
    assert _first_forms(offered.after) == {"a": "a@2", "a@3": "a@2", "a@4": "a@2"}


class Branches(Modality):
    """A modality whose backbones have forms that branch."""

    name = "many"

    def variants(self, specs: Any, items: Any) -> Any:
        """Return two that follow the first, one of them with a form after it."""
        return [(spec, (form(f"{spec.name}@2"),), form(f"{spec.name}@3"), (form(f"{spec.name}@4"),)) for spec in specs]


def test_tuple_of_forms_branches_off_the_form_before_it() -> None:
    offered = offer_variants([form("a"), form("b")], ("b",), Branches(), ())
    assert [spec.name for spec in offered.first] == ["a", "b"]
    assert offered.after == {"a@2": "a", "a@3": "a", "a@4": "a@3"}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.5, 0.4, 0.6, 0.7), ["a", "a@2", "a@3", "a@4"]),
        ((0.5, 0.9, 0.4, 0.9), ["a", "a@2", "a@3"]),
    ],
)
def test_forms_that_branch_off_are_tried_beside_one_another(scores: tuple[float, ...], expected: list[str]) -> None:
    source = screening(Decisions(), {"a@2": "a", "a@3": "a", "a@4": "a@3"})
    assert screened(source, dict(zip(FORMS, scores, strict=True)), Trials()) == expected


def test_all_forms_together_take_no_more_than_the_first_ones_may() -> None:
    # Of 100 seconds, a form may take 10, and all of them 30.
    forms = {f"a@{number}": "a" for number in range(2, 9)}
    seconds = {f"a@{number}": 8.0 for number in range(2, 9)} | {"a@2": 11.0}
    source = screening(Decisions(), forms, lambda params, epochs: seconds[params["backbone"]])
    found = screened(source, dict.fromkeys(("a", *forms), 0.5), Trials())
    assert found == ["a", "a@3", "a@4", "a@5"]


def screening(
    decisions: Decisions,
    variants: Mapping[str, str] = CHAIN,
    seconds: Callable[[dict[str, Any], int], float] | None = None,
) -> Screening:
    context = StrategyContext(
        screening=[{"backbone": "a"}],
        tuning=lambda backbone, trained, distant=False: None,
        frozen_policy="frozen",
        tuning_policies=(),
        curves=None,  # type: ignore[arg-type]  # nothing is fine-tuned
        variants=variants,
        seconds=seconds,
    )
    return Screening(context, StrategySettings(), decisions)


def screened(source: Screening, scores: dict[str, float], trials: Trials) -> list[str]:
    """Return the forms that are proposed, each of which gets its score."""
    found = []
    while True:
        if not source.is_pending:
            source.add_variants(trials, 100.0)
        if not source.is_pending:
            return found
        name = source.propose(trials, ()).params["backbone"]
        found.append(name)
        score = scores[name]
        candidate = Candidate(backbone=name, head="ridge")
        trials.add(TrialRecord(number=len(trials), state="complete", candidate=candidate, score=score, objective=score))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.5, 0.6, 0.7, 0.8), ["a", "a@2", "a@3", "a@4"]),
        ((0.5, 0.6, 0.55, 0.9), ["a", "a@2", "a@3"]),
        ((0.5, 0.4, 0.9, 0.9), ["a", "a@2"]),
        ((0.5, 0.5, 0.4, 0.9), ["a", "a@2", "a@3"]),
    ],
)
def test_next_form_is_tried_where_the_last_was_no_worse(scores: tuple[float, ...], expected: list[str]) -> None:
    assert screened(screening(Decisions()), dict(zip(FORMS, scores, strict=True)), Trials()) == expected


def test_resumed_search_goes_on_from_the_form_that_was_noted() -> None:
    scores, trials, decisions = dict(zip(FORMS, (0.5, 0.6, 0.7, 0.8), strict=True)), Trials(), Decisions()
    source = screening(decisions)
    first = source.propose(trials, ())
    trials.add(TrialRecord(number=0, state="complete", candidate=Candidate(backbone="a"), score=0.5, objective=0.5))
    source.add_variants(trials, 100.0)
    second = source.propose(trials, ())
    resumed = Decisions()
    again = screening(resumed)
    again.restore(first, None)
    resumed.restore({"variants": decisions.variants}, lambda name: True)
    again.restore(second, None)
    assert not again.is_pending
    candidate = Candidate(backbone="a@2", head="ridge")
    trials.add(TrialRecord(number=1, state="complete", candidate=candidate, score=0.6, objective=0.6))
    assert screened(again, scores, trials) == ["a@3", "a@4"]
