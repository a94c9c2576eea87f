"""Which frozen backbone is tried next under a closed-form head: each once, then variants of the best ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from autotransfer.search.decisions import Decisions
from autotransfer.search.proposal import Proposal, Source
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["SCREENING_SOURCES", "Screening"]

SCREENING_SOURCES: tuple[Source, ...] = ("screening", "variants")


class Screening:
    """Proposes every backbone once, then the best ones in other forms, such as another resolution, and in more views.

    Args:
        context: What may be proposed.
        settings: The tuned numbers.
        decisions: Takes what is decided.
    """

    def __init__(self, context: StrategyContext, settings: StrategySettings, decisions: Decisions) -> None:
        self._context, self._settings, self._decisions = context, settings, decisions
        self._first, self._queue = tuple(context.screening), list(context.screening)
        self._following = dict[str, list[str]]()
        for form, before in context.variants.items() if self._first else ():
            self._following.setdefault(before, []).append(form)
        self._open = set(self._following)

    @property
    def is_pending(self) -> bool:
        """Whether something waits to be screened."""
        return bool(self._queue)

    def propose(self, trials: Trials, running: Sequence[Proposal]) -> Proposal:
        """Return the next of what waits."""
        params = self._queue.pop(self._next_place(trials, running))
        return Proposal(params=params, source="screening" if params in self._first else "variants")

    def _next_place(self, trials: Trials, running: Sequence[Proposal]) -> int:
        """Return the place of what is screened next: two trials side by side would wait for one backbone's features.

        Within a time budget, a backbone whose features are cached is tried under each head before the next backbone.
        """
        busy = {proposal.params.get("backbone") for proposal in running}
        free = [place for place, params in enumerate(self._queue) if params.get("backbone") not in busy]
        cached = set[str]()
        if self._context.is_timed:
            cached = {record.candidate.backbone for record in trials if record.candidate}
        known = [place for place in free if self._queue[place].get("backbone") in cached]
        return next(iter(known or free), 0)

    def add_variants(self, trials: Trials, left: float) -> None:
        """Let the best backbones be screened in other forms, where a pass takes a small share of the seconds left.

        A backbone goes on to the next forms where the form that was tried last was no worse than the one before.
        """
        if not self._open:
            return
        best, before = trials.backbones()[: self._settings.tuned_backbones], self._context.variants
        if self._decisions.variants is not None:
            objective = trials.objective_of
            best = [name for name in best if name in before and objective(name) >= objective(before[name])]
        added = self._fitting([name for name in best if name in self._open], trials, left)
        if added or self._decisions.variants is None:
            self._decisions.tuned_backbones = None  # there are more to choose from
        self._decisions.variants = [*(self._decisions.variants or ()), *added]
        self._screen_variants(added)

    def _screen_variants(self, added: Sequence[dict[str, Any]]) -> None:
        """Queue variants; their next forms are all that may follow."""
        self._queue += added
        self._open = {name for params in added if (name := str(params["backbone"])) in self._following}

    def _fitting(self, names: Sequence[str], trials: Trials, left: float) -> list[dict[str, Any]]:
        """Return parameters of the forms that follow some, as far as there is time.

        The first form after each comes before the second ones: together they take no more than the first ones may.
        """
        total, added = self._settings.tuned_backbones * self._settings.variant_share * left, list[dict[str, Any]]()
        for forms in zip_longest(*(self._following[name] for name in names)):
            for name, form in zip(names, forms, strict=True):
                if form is None:
                    continue
                params = {**self._params_like(trials.best, name), "backbone": form}
                seconds = self._seconds_of(name, params, trials, left)
                if seconds <= min(self._settings.variant_share * left, total):
                    total -= seconds
                    added.append(params)
        return added

    def _seconds_of(self, before: str, params: dict[str, Any], trials: Trials, left: float) -> float:
        """Return the seconds of a pass of a form of a backbone; infinite where that is plain without loading it."""
        if self._context.seconds is None:
            return 0.0
        # A larger resolution takes longer than the smaller one has taken.
        if before in self._context.distant and trials.longest(before) > self._settings.variant_share * left:
            return math.inf
        return self._context.seconds(params, 0)

    def propose_more_views(self, trials: Trials, left: float) -> Proposal | None:
        """Return one of the best backbones in more views; None where none may gain by it, or has time for it."""
        seconds, allowed = self._context.seconds, self._settings.variant_share * left

        def again(name: str) -> dict[str, Any]:
            return {**self._params_like(trials.best_of(name), name), "backbone": name}

        def fits(name: str) -> bool:
            return seconds is None or seconds(again(name), 0) <= allowed

        most = self._settings.tuned_backbones if self._context.is_timed else 1
        ranked = trials.backbones()[:most] if self._first else ()
        name = self._context.views.raise_next(ranked, trials.objective_of, fits)
        return None if name is None else Proposal(params=again(name), source="variants")

    def restore(self, proposal: Proposal, known: int | None) -> None:
        """Take a proposal of an interrupted search out of the queue.

        Args:
            proposal: The proposal.
            known: Number of variants that were decided before it; None before any was.
        """
        variants = self._decisions.variants
        if variants is not None and (known is None or known < len(variants)):
            self._screen_variants([p for p in variants[known or 0 :] if self._context.knows(p["backbone"])])
        self._queue = [params for params in self._queue if params != proposal.params]

    def _params_like(self, record: TrialRecord | None, backbone: str) -> dict[str, Any]:
        """Return the parameters of a first trial under the head of a record, as far as that suits a backbone."""
        head = None if record is None or record.candidate is None else record.candidate.head
        own = [params for params in self._first if params.get("backbone") == backbone]
        known = own or [p for p in self._first if p.get("backbone") not in self._context.frozen_only] or self._first
        return next((params for params in known if params.get("head") == head), known[0])
