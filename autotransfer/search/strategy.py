"""What a search tries, in which order: screening, its variants, then frozen heads with fine-tuning between them.

Frozen candidates cost next to nothing on cached features. Within a time budget, trials that train stages are paused
at rungs, and the one with the greatest expected improvement per second is resumed. Within a budget of trials each runs
to its end, so that equal seeds give equal searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autotransfer.search.decisions import Decisions, changes
from autotransfer.search.fine_tuning import FineTuning
from autotransfer.search.frozen_candidates import FrozenCandidates
from autotransfer.search.proposal import Proposal
from autotransfer.search.screening import SCREENING_SOURCES, Screening
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["Strategy"]


class Strategy:
    """Proposes what a search tries next.

    Args:
        context: What may be proposed, and what is known of the task.
        settings: The tuned numbers; None means the defaults.
    """

    def __init__(self, context: StrategyContext, settings: StrategySettings | None = None) -> None:
        settings = settings or StrategySettings()
        self._context, self._settings = context, settings
        self._decisions, self._noted = Decisions(), dict[str, Any]()
        self._screening = Screening(context, settings, self._decisions)
        self._frozen = FrozenCandidates(context.frozen_policy, context.perfect_score, settings)
        self._fine_tuning = FineTuning(context, settings, self._decisions)

    def next(self, trials: Trials, left: float, running: Sequence[Proposal] = ()) -> Proposal | None:
        """Return what is tried next; None where what is being tried has to end first."""
        is_screening = any(proposal.source in SCREENING_SOURCES for proposal in running)
        urgent = "" if self._screening.is_pending or running else self._fine_tuning.urgent_backbone(trials, left)
        proposal = self._screen(trials, left, running, may_vary=not is_screening and not urgent)
        if proposal is None:
            proposal = self._tune(trials, left, running, is_screening, urgent)
        return None if proposal is None else replace(proposal, note=self._note())

    def restore(self, proposal: Proposal) -> None:
        """Read what was noted with a proposal of an interrupted search."""
        variants = self._decisions.variants
        self._decisions.restore(proposal.note, self._context.knows)
        self._screening.restore(proposal, None if variants is None else len(variants))
        self._context.views.restore(proposal.note.get("views", {}))
        self._fine_tuning.restore(proposal)
        self._note()

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn what came of a proposal; None says that it was not carried out."""
        if proposal.source in SCREENING_SOURCES:
            objective = None if record is None else record.objective
            self._context.views.judge(str(proposal.params.get("backbone")), objective, self._context.perfect_score)
            self._frozen.screened |= set() if record is None else {record.number}
        self._fine_tuning.observe(proposal, record)

    def _note(self) -> dict[str, Any]:
        """Return what has been decided since the last call, as JSON."""
        before, known = self._noted, self._noted.get("arms", {})
        arms = known | self._fine_tuning.arms_after(len(known))
        self._noted = self._decisions.to_json() | {"views": self._context.views.to_json(), "arms": arms}
        return changes(self._noted, before)

    def _screen(self, trials: Trials, left: float, running: Sequence[Proposal], *, may_vary: bool) -> Proposal | None:
        """Return a frozen backbone under a closed-form head, or one of its variants; None where none is left."""
        if may_vary and not self._screening.is_pending:
            self._screening.add_variants(trials, left)
        if self._screening.is_pending:
            return self._screening.propose(trials, running)
        if may_vary and not self._frozen.are_far_behind(trials):
            return self._screening.propose_more_views(trials, left)
        return None

    def _tune(
        self, trials: Trials, left: float, running: Sequence[Proposal], is_screening: bool, urgent: str
    ) -> Proposal | None:
        """Return a frozen candidate or a fine-tuning, in turns."""
        if not self._context.is_timed:
            rest = self._fine_tuning.propose_rest_of_best(trials, running)
            if rest is not None:
                return rest
        is_improving = self._frozen.are_improving(trials)
        is_turn = self._is_turn_of_frozen(trials, is_improving, bool(running))
        # What is still screened may be what is tuned first.
        if is_screening or (is_turn and not self._fine_tuning.is_measuring and not urgent):
            return self._frozen_candidate()
        self._fine_tuning.choose_backbones(trials)
        if not self._context.is_timed:
            return self._fine_tuning.propose_next_depth(trials, running)
        if (proposal := self._fine_tuning.propose(trials, left, running, urgent)) is not None:
            return proposal
        if running and not is_improving:
            return None
        return self._frozen_candidate() if running or urgent else self._sampled()

    def _is_turn_of_frozen(self, trials: Trials, is_improving: bool, is_running: bool) -> bool:
        """Whether a frozen candidate is next, by the number of proposals after the screening."""
        position = self._decisions.proposed
        self._decisions.proposed += 1
        if is_improving:
            is_due = self._context.is_timed and self._frozen.are_due(trials)
            return bool(position % (self._settings.frozen_heads_per_fine_tuning + 1)) or is_due
        # Beside a fine-tuning, waiting is better than a frozen candidate without a gain: many of them end a search.
        return bool(position % 2) and not is_running

    def _frozen_candidate(self) -> Proposal:
        policy = self._context.frozen_policy
        return self._sampled() if policy is None else Proposal(params={"freeze": policy}, source="frozen_heads")

    def _sampled(self) -> Proposal:
        """Return what the sampler chooses; where no policy freezes all stages, that is a fine-tuning."""
        is_frozen = self._context.frozen_policy is not None
        return Proposal(source="sampled" if is_frozen or not self._context.is_timed else "sampled_tuning")
