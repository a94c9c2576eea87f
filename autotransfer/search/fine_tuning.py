"""Which backbone is fine-tuned next, and how deep.

Fine-tuning goes from the head downwards, backbone by backbone, as long as training deeper pays. Half of a backbone
trains early where the last stages gain much, and much error is left: the last stages cannot make up for features that
they are not given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np

from autotransfer.search.decisions import Decisions, TrainedDepth
from autotransfer.search.freeze_thaw import Arm, FreezeThaw
from autotransfer.search.proposal import Proposal, Source
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["FineTuning"]


class FineTuning:
    """Proposes candidates that train stages: rung by rung within a time budget, else each to its end.

    Args:
        context: What may be proposed.
        settings: The tuned numbers.
        decisions: Takes what is decided.
    """

    def __init__(self, context: StrategyContext, settings: StrategySettings, decisions: Decisions) -> None:
        self._context, self._settings, self._decisions = context, settings, decisions
        self._freeze_thaw = FreezeThaw(context.curves)
        self._resolution_of = _first_forms(context.variants) if context.screening else {}
        self.is_measuring = False  # the last proposal has shown what an epoch takes, and goes on at once

    def choose_backbones(self, trials: Trials) -> None:
        """Decide once which backbones are tuned, the best first; within a time budget, at all resolutions screened."""
        if self._decisions.tuned_backbones is not None:
            return
        resolutions: dict[str, list[str]] = {}
        for name in self._trainable(trials):
            resolutions.setdefault(self._resolution_of.get(name, name), []).append(name)
        best = list(resolutions.values())[: self._settings.tuned_backbones]
        chosen = [names[0] for names in best]
        if self._context.is_timed:
            chosen = sorted(chain.from_iterable(best), key=lambda name: -trials.objective_of(name))
        self._decisions.tuned_backbones = chosen

    def urgent_backbone(self, trials: Trials, left: float) -> str:
        """Return the best backbone if half of it trains before all else that is not screening; else an empty name.

        It was pretrained on examples unlike those of the task. Training deep can make up for that, and needs much time.
        """
        name, tuned = next(iter(self._trainable(trials)), ""), self._decisions.tuned_backbones
        if not self._context.is_timed or name not in self._context.distant or name not in (tuned or [name]):
            return ""
        if name in self._decisions.half_depths:
            is_known = self._freeze_thaw.has_shown(f"{name}/{self._decisions.half_depths[name]}")
            return "" if is_known else name
        return name if self._affordable_half(name, trials, left) else ""

    def propose(self, trials: Trials, left: float, running: Sequence[Proposal], urgent: str) -> Proposal | None:
        """Return the arm that promises the greatest improvement per second; None where none does.

        Args:
            trials: The trials.
            left: Seconds that the search may still take.
            running: The proposals that are being carried out.
            urgent: The backbone of which half trains before all else; empty where there is none.
        """
        if not urgent:
            self._add_arms(trials, left)
        elif urgent not in self._decisions.half_depths:
            self._train_half(urgent, self._affordable_half(urgent, trials, left), trials)
        return self._freeze_thaw.next(trials, left, running)

    def propose_rest_of_best(self, trials: Trials, running: Sequence[Proposal]) -> Proposal | None:
        """Return what trains the best trial to its end, where an earlier time budget had it paused."""
        return self._freeze_thaw.to_its_end(trials.best, running)

    def propose_next_depth(self, trials: Trials, running: Sequence[Proposal]) -> Proposal:
        """Return the next depth of the first backbone for which training deeper still pays."""
        tuned = self._decisions.tuned_backbones
        assert tuned is not None  # chosen before
        busy = {proposal.params.get("backbone") for proposal in running if proposal.source == "fine_tuning"}
        for backbone in [name for name in tuned if name not in busy]:
            if (params := self._next_depth(backbone, trials)) is not None:
                return Proposal(params=params, source="fine_tuning")
            tuned.remove(backbone)
        return Proposal()

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn what came of a proposal."""
        if proposal.arm:
            self._freeze_thaw.observe(proposal, record)
            curve = () if record is None or record.state != "paused" else record.curve
            self.is_measuring = bool(curve) and len(curve) not in self._context.curves.rungs
        if record is None or record.objective is None:
            return
        if proposal.arm in self._decisions.sampled_tunings:
            self._decisions.sampled_tunings[proposal.arm] = record.objective
        if proposal.arm in self._decisions.fine_tunings:
            self._decisions.fine_tunings[proposal.arm].objective = record.objective

    def restore(self, proposal: Proposal) -> None:
        """Add the arms that were noted with a proposal of an interrupted search."""
        self._freeze_thaw.restore(proposal, self._context.knows)

    def arms_after(self, count: int) -> dict[str, Any]:
        """Return the arms by name, but for the first ones, as JSON."""
        return {arm.name: asdict(arm) for arm in self._freeze_thaw.arms[count:]}

    def _trainable(self, trials: Trials) -> list[str]:
        """Return the backbones that have stages to train, the best first."""
        return [name for name in trials.backbones() if name not in self._context.frozen_only]

    def _next_depth(self, backbone: str, trials: Trials) -> dict[str, Any] | None:
        """Return parameters to train one more stage with; None where the last one brought nothing."""
        decided, best = self._decisions, trials.objective_of(backbone)
        if backbone in decided.best_before and best <= decided.best_before[backbone]:
            return None
        trained = decided.trained.get(backbone, self._context.first_trained - 1) + 1
        if trained == decided.half_depths.get(backbone):
            trained += 1  # this depth was trained before
        decided.trained[backbone], decided.best_before[backbone] = trained, best
        return self._context.tuning(backbone, trained)

    def _add_arms(self, trials: Trials, left: float) -> None:
        """Add the next depth of a backbone when the last one has shown itself, and a sampled one after all of them."""
        decided = self._decisions
        assert decided.tuned_backbones is not None  # chosen before
        for backbone in list(decided.tuned_backbones):
            if backbone in decided.half_depths:
                self._go_on_from_half(backbone, trials)
            elif trained := self._affordable_half(backbone, trials, left):
                self._train_half(backbone, trained, trials)
            if not self._freeze_thaw.has_shown(f"{backbone}/{decided.trained.get(backbone, 0)}"):
                continue
            if backbone not in decided.trained:
                decided.trained[backbone] = self._affordable_first_depth(backbone, left) - 1
                decided.best_before[backbone] = -math.inf
            if (params := self._next_depth(backbone, trials)) is not None:
                self._add_fine_tuning(backbone, decided.trained[backbone], params, trials)
            elif self._freeze_thaw.has_shown(f"{backbone}/{decided.half_depths.get(backbone, 0)}"):
                decided.tuned_backbones.remove(backbone)
        arms = self._freeze_thaw.arms
        if self._context.tuning_policies and arms and all(self._freeze_thaw.has_shown(arm.name, 1) for arm in arms):
            self._freeze_thaw.add(self._sampled_arm(len(decided.sampled_tunings), trials))

    def _affordable_first_depth(self, backbone: str, left: float) -> int:
        """Return how many last stages train first: as many as a small share of the seconds left is enough for."""
        allowed = self._settings.first_fine_tuning_share * left
        for trained in range(self._context.first_trained, 1, -1):
            if self._seconds_of(backbone, trained, self._context.curves.rungs[-1]) <= allowed:
                return trained
        return 1

    def _affordable_half(self, backbone: str, trials: Trials, left: float) -> int:
        """Return how many last stages train if about half of a backbone is to train now; else 0."""
        settings, perfect = self._settings, self._context.perfect_score
        depths = [one for one in self._decisions.fine_tunings.values() if one.backbone == backbone]
        half, allowed = self._context.half_depth(backbone), settings.half_depth_share * left

        def fits(trained: int) -> bool:
            return self._seconds_of(backbone, trained, self._context.min_epochs) <= allowed

        if not depths:
            error = perfect - trials.objective_of(backbone)
            is_distant = backbone in self._context.distant and error >= settings.half_depth_min_error
            return half if half and is_distant and fits(half) else 0
        before, best = depths[0].best_before, max(one.objective for one in depths)
        gains = best - before >= settings.half_depth_min_gain * (perfect - before)
        if not gains or perfect - best < settings.half_depth_min_error:
            return 0
        return next(filter(fits, range(half, max(one.trained for one in depths), -1)), 0)

    def _train_half(self, backbone: str, trained: int, trials: Trials) -> None:
        self._decisions.half_depths[backbone] = trained
        params = self._context.tuning(backbone, trained, distant=True)
        assert params is not None  # its seconds were predicted
        self._add_fine_tuning(backbone, trained, params, trials, self._settings.half_depth_gain)

    def _go_on_from_half(self, backbone: str, trials: Trials) -> None:
        """Train deeper than half of a backbone, where half of it gave its best candidate."""
        decided, half = self._decisions, self._decisions.half_depths[backbone]
        is_best = decided.fine_tunings[f"{backbone}/{half}"].objective >= trials.objective_of(backbone)
        if is_best and decided.trained.get(backbone, 0) < half:
            decided.trained[backbone], decided.best_before[backbone] = half, -math.inf

    def _seconds_of(self, backbone: str, trained: int, epochs: int) -> float:
        """Return the seconds that so many epochs of so many last stages take; infinite where they cannot train."""
        assert self._context.seconds is not None  # asked with a time budget only
        params = self._context.tuning(backbone, trained)
        return math.inf if params is None else self._context.seconds(params, epochs)

    def _add_fine_tuning(
        self, backbone: str, trained: int, params: dict[str, Any], trials: Trials, gain: float = 0.0
    ) -> None:
        """Add an arm that is expected to gain a share of the error."""
        assert self._context.seconds is not None  # arms are for time budgets
        name, best = f"{backbone}/{trained}", trials.objective_of(backbone)
        self._decisions.fine_tunings[name] = TrainedDepth(backbone=backbone, trained=trained, best_before=best)
        start, first = self._context.seconds(params, 0), self._context.seconds(params, 1)
        expected = best + gain * (self._context.perfect_score - best)
        about = {"params": params, "start": start, "seconds": max(first - start, 1e-3)}
        self._freeze_thaw.add(self._arm(name, expected, trials, "fine_tuning", **about))

    def _sampled_arm(self, count: int, trials: Trials) -> Arm:
        """Return an arm whose settings the sampler chooses: about as costly as the others, and as good as such were.

        Policies take turns, and so do backbones that were scored on more than a sample of the examples.
        """
        policies, backbones, name = self._context.tuning_policies, self._trainable(trials), f"sampled/{count + 1}"
        params = {"freeze": policies[count % len(policies)], "backbone": backbones[count % len(backbones)]}
        start = float(np.median([arm.start for arm in self._freeze_thaw.arms]))
        seconds = float(np.median([arm.seconds for arm in self._freeze_thaw.arms]))
        best, sampled = trials.best, self._decisions.sampled_tunings
        expected = best.objective if best and best.objective is not None else 0.0
        sampled[name] = expected = float(np.mean([expected, *sampled.values()]))
        return self._arm(name, expected, trials, "sampled_tuning", params=params, start=start, seconds=seconds)

    def _arm(self, name: str, expected: float, trials: Trials, source: Source, **about: Any) -> Arm:
        """Return an arm that is expected to end at an objective, after a dip in its first epochs."""
        best, settings, rungs = trials.best, self._settings, self._context.curves.rungs
        known = expected if best is None or best.objective is None else max(best.objective, expected)
        error = max(self._context.perfect_score - known, settings.min_deviation)
        mean = [expected - settings.fine_tuning_dip * error * (1 - rung / rungs[-1]) ** 4 for rung in rungs]
        std = [max(settings.fine_tuning_deviation * error, settings.min_deviation)] * len(mean)
        return Arm(name=name, mean=mean, std=std, source=source, **about)


def _first_forms(variants: Mapping[str, str]) -> dict[str, str]:
    """Return, by the name of each later form of a backbone, the name of the form that is screened first."""
    found = dict[str, str]()
    for variant, name in variants.items():
        while name in variants:
            name = variants[name]
        found[variant] = name
    return found
