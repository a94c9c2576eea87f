"""What a live search tries, in which order: screening, then probes, and between them fine-tuning that grows.

Probes of frozen backbones cost next to nothing on cached features, and each of them tells something. Fine-tuning
grows from the head downwards, backbone by backbone, as long as training deeper pays. Where the last stages gain much
early on, much is missing still, and there are many examples, half of the backbone is trained next, if only for a few
epochs: last stages cannot make up for features that they are not given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np

from autotransfer.search.decisions import Decisions, Grown, changes
from autotransfer.search.freeze_thaw import Arm, CurveModel, FreezeThaw
from autotransfer.search.frozen_candidates import CHANCE, Probes
from autotransfer.search.proposal import Proposal, Source
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.search.views import Views

__all__ = ["Strategy"]

Seconds = Callable[[dict[str, Any], int], float]


class Tuning(Protocol):
    """Returns the parameters of a trial that trains the last stages of a backbone; None where that cannot be said."""

    def __call__(self, backbone: str, trained: int, *, far: bool = False) -> dict[str, Any] | None:
        """Return them; ``far`` says that the task is far from what the backbone has learned."""
        ...


# Backbones that are tuned, best first: screening ranks them well, not perfectly.
_TUNED = 3
# Probes between two trials that may train stages.
_BETWEEN = 4
# Before it is seen, fine-tuning is expected to end where the best probe is, give or take a share of what is missing to
# a perfect score. In its first epochs, at the highest learning rate, it loses about all of that.
_SPREAD, _DIP = 0.3, 1.0
# Share of the time left that the first fine-tuning of a backbone may take if it trains more than the last stage.
_FIRST_SHARE = 0.3
# A backbone is trained from its middle on when its last stages gained this share of what probes miss to the best score,
# and more than that is missing still. Its fewest epochs may take a share of the time left. It is expected to gain a
# share of the rest. On textures, the last stages gained nothing and the middle lost; on signs, a half and most of it.
_PAID, _MUCH, _MIDDLE_SHARE, _MIDDLE_GAIN = 0.1, 0.03, 0.7, 0.5
# Share of the time left that a pass through a backbone at its other size, or those in more views, may take.
_PASS_SHARE = 0.1
_COSTS = ("start", "seconds")
# Sources that try a backbone as a whole, frozen.
SCREENS: tuple[Source, ...] = ("screening", "variants")


class Strategy:
    """The schedule of a live search.

    Within a time budget, trials that train stages are paused at rungs; the one that promises the greatest improvement
    per second goes on, a new one included. Within a budget of trials each runs to its end, so that equal seeds give
    equal searches: each of the best screened backbones has its last stage trained, then its last two, and so on, as
    long as training deeper brings something better. Then the study chooses.

    Args:
        screening: Parameters of the trials that come first.
        tuning: Says how so many last stages are trained.
        seconds: ``seconds(params, epochs)`` predicts a trial's time to so many epochs; None without a time budget.
        probe: The freeze policy of probes, which freezes all; without one, the study chooses in their place.
        policies: The freeze policies that train stages; within a time budget, sampled trials take them in turn.
        curves: How learning curves hang together.
        perfect_score: The best score that the metric has.
        begin: Number of last stages that are trained first; fewer where the time left is too short for that.
        middle: ``middle(backbone)`` returns how many last stages are trained early on, within a time budget, where much
            is missing to the best score; fewer where the time left is too short for that.
        fewest: Epochs that have to fit in.
        others: By the name of a screened backbone, the name of the same one at another input size.
        unlike: Backbones that have seen other images than those of the task, as far as can be said of any.
        views: In how many views backbones see images: the best ones are looked at in more of them.
        backbones: Names of all backbones, at all sizes; what a search that goes on knew of others is forgotten. None
            forgets nothing.
    """

    def __init__(
        self,
        *,
        screening: Sequence[dict[str, Any]],
        tuning: Tuning,
        probe: str | None,
        policies: Sequence[str],
        curves: CurveModel,
        seconds: Seconds | None = None,
        perfect_score: float = 1.0,
        begin: int = 1,
        middle: Callable[[str], int] = lambda backbone: 0,
        fewest: int = 3,
        others: Mapping[str, str] | None = None,
        unlike: Collection[str] = (),
        views: Views | None = None,
        backbones: Collection[str] | None = None,
    ) -> None:
        self._screening, self._first, self._tuning, self._probe = list(screening), tuple(screening), tuning, probe
        self._seconds, self._perfect_score, self._curves, self._policies = seconds, perfect_score, curves, policies
        self._middle, self._fewest = middle, fewest
        self._others, self._unlike = dict(others or {}) if screening else {}, unlike
        self._one_of = {other: name for name, other in self._others.items()}  # what names one backbone at two sizes
        self._thaw = FreezeThaw(curves)
        self._probes, self._begin = Probes(probe, perfect_score), begin
        self._timed = False  # an epoch has just told what one takes: what paused for it goes on
        self._views = Views() if views is None else views
        self._backbones = backbones
        self._decided, self._noted = Decisions(), dict[str, Any]()

    def next(self, trials: Trials, left: float, running: Sequence[Proposal] = ()) -> Proposal | None:
        """Return what is tried next; None where what is being tried has to end first."""
        proposal = self._next(trials, left, running)
        return None if proposal is None else replace(proposal, note=self._note())

    def restore(self, proposal: Proposal) -> None:
        """Take in a proposal of an interrupted search, by what was noted with it."""
        undecided = self._decided.more is None
        self._decided.restore(proposal.note, self._knows)
        if undecided and self._decided.more is not None:
            self._screening += filter(lambda params: self._knows(params["backbone"]), self._decided.more)
            self._others = {}
        self._screening = [params for params in self._screening if params != proposal.params]
        self._views.restore(proposal.note.get("views", {}))
        self._thaw.restore(proposal, self._knows)
        self._note()

    def _note(self) -> dict[str, Any]:
        """Return what has been decided since the last call, as JSON."""
        before, known = self._noted, self._noted.get("arms", {})
        arms = known | {arm.name: asdict(arm) for arm in self._thaw.arms[len(known) :]}
        self._noted = self._decided.to_json() | {"views": self._views.to_json(), "arms": arms}
        return changes(self._noted, before)

    def _knows(self, backbone: str) -> bool:
        return self._backbones is None or backbone in self._backbones

    def _next(self, trials: Trials, left: float, running: Sequence[Proposal]) -> Proposal | None:
        screens = any(proposal.source in SCREENS for proposal in running)
        far = "" if self._screening or running else self._far_first(trials, left)
        if self._others and not self._screening and not screens and not far:
            self._decided.more = self._other_sizes(trials, left)
            self._screening, self._others = list(self._decided.more), {}
            self._decided.ranked = None  # there are more to rank
        if self._screening:
            params = self._screening.pop(self._next_screened(trials, running))
            return Proposal(params=params, source="screening" if params in self._first else "variants")
        if not screens and not far and (closer := self._closer(trials, left)) is not None:
            return Proposal(params=closer, source="variants")
        if self._seconds is None and (proposal := self._thaw.to_its_end(trials.best, running)) is not None:
            return proposal  # it was paused when time was what counted
        position, pays = self._decided.issued, self._probes.pay(trials)
        self._decided.issued += 1
        due = self._seconds is not None and self._probes.are_due(trials)
        # Beside what trains stages, waiting is better than a probe in vain: many of these in a row end a search.
        probing = position % (_BETWEEN + 1) or due if pays else position % 2 and not running
        # What is still screened may be what is tuned first.
        if (probing and not self._timed and not far) or screens:
            return self._probing()
        if self._decided.ranked is None:
            self._decided.ranked = self._to_tune(trials)
        if self._seconds is None:
            return self._one_after_the_other(trials, running)
        if not far:
            self._sprout(trials, left)
        elif far not in self._decided.middles:
            self._begin_in_the_middle(far, self._middle_trained(far, trials, left), trials)
        if (proposal := self._thaw.next(trials, left, running)) is not None:
            return proposal
        if running and not pays:
            return None
        return self._probing() if running or far else self._sampling()

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Take in what came of a proposal."""
        if proposal.arm:
            self._thaw.observe(proposal, record)
            curve = () if record is None or record.state != "paused" else record.curve
            self._timed = bool(curve) and len(curve) not in self._curves.rungs
        if proposal.source in SCREENS:
            objective = None if record is None else record.objective
            self._views.judge(str(proposal.params.get("backbone")), objective, self._perfect_score)
            self._probes.screened |= set() if record is None else {record.number}
        if record is None or record.objective is None:
            return
        if proposal.arm in self._decided.sampled:
            self._decided.sampled[proposal.arm] = record.objective
        if proposal.arm in self._decided.grown:
            self._decided.grown[proposal.arm].objective = record.objective

    def _next_screened(self, trials: Trials, running: Sequence[Proposal]) -> int:
        """Return the place of what is screened next: side by side, two would wait for one backbone's features.

        Where time is what counts, a backbone whose features are there is looked at under each head before the next one.
        """
        busy = {proposal.params.get("backbone") for proposal in running}
        free = [place for place, params in enumerate(self._screening) if params.get("backbone") not in busy]
        seen = {record.candidate.backbone for record in trials if record.candidate} if self._seconds else set[str]()
        known = [place for place in free if self._screening[place].get("backbone") in seen]
        return next(iter(known or free), 0)

    def _far_first(self, trials: Trials, left: float) -> str:
        """Return the best backbone if it trains from its middle before all else that is not screening; else nothing.

        It has seen images of another kind. That alone can make up for it, and wants the time while there is much.
        """
        name = next(iter(trials.backbones()), "")
        if self._seconds is None or name not in self._unlike or name not in (self._decided.ranked or [name]):
            return ""
        if name in self._decided.middles:
            return "" if self._thaw.told(f"{name}/{self._decided.middles[name]}") else name
        return name if self._middle_trained(name, trials, left) else ""

    def _other_sizes(self, trials: Trials, left: float) -> list[dict[str, Any]]:
        """Return what is screened at its other size: the best backbones, where that takes a small share of the time."""
        ranked = [name for name in trials.backbones()[:_TUNED] if name in self._others]
        like = self._like(trials.best)
        fitting = [name for name in ranked if self._seconds is None or self._fits(name, like, trials, left)]
        return [{**like, "backbone": self._others[name]} for name in fitting]

    def _fits(self, name: str, like: dict[str, Any], trials: Trials, left: float) -> bool:
        """Whether a pass of a backbone at its other size takes a small share of the time left."""
        assert self._seconds is not None  # asked with a budget of time only
        allowed = _PASS_SHARE * left
        # A larger size takes longer than the smaller one has taken: it need not be loaded to be told that.
        if name in self._unlike and trials.longest(name) > allowed:
            return False
        return self._seconds({**like, "backbone": self._others[name]}, 0) <= allowed

    def _closer(self, trials: Trials, left: float) -> dict[str, Any] | None:
        """Return what is screened again in more views: one of the best backbones, where that takes little time."""
        ranked = [] if self._probes.are_behind(trials) else trials.backbones()[: 1 if self._seconds is None else _TUNED]

        def again(name: str) -> dict[str, Any]:
            return {**self._like(trials.best_of(name)), "backbone": name}

        def fits(name: str) -> bool:
            return self._seconds is None or self._seconds(again(name), 0) <= _PASS_SHARE * left

        name = self._views.look_closer(ranked if self._first else (), trials.objective_of, fits)
        return None if name is None else again(name)

    def _like(self, record: TrialRecord | None) -> dict[str, Any]:
        """Return the parameters of a first trial under the head of a record."""
        head = None if record is None or record.candidate is None else record.candidate.head
        return next((params for params in self._first if params.get("head") == head), self._first[0])

    def _to_tune(self, trials: Trials) -> list[str]:
        """Return the backbones that are tuned, the best first; where time is what counts, at all sizes screened."""
        sizes: dict[str, list[str]] = {}
        for name in trials.backbones():
            sizes.setdefault(self._one_of.get(name, name), []).append(name)
        best = list(sizes.values())[:_TUNED]
        if self._seconds is None:
            return [names[0] for names in best]
        return sorted(chain.from_iterable(best), key=lambda name: -trials.objective_of(name))

    def _probing(self) -> Proposal:
        return (
            self._sampling() if self._probe is None else Proposal(params={"freeze": self._probe}, source="frozen_heads")
        )

    def _sampling(self) -> Proposal:
        """Return what the study chooses; where no policy freezes all, that trains stages and takes its time."""
        return Proposal(source="sampled" if self._probe is not None or self._seconds is None else "sampled_tuning")

    def _one_after_the_other(self, trials: Trials, running: Sequence[Proposal]) -> Proposal:
        """Return the next depth of the first backbone that training deeper still pays for; it rests meanwhile."""
        assert self._decided.ranked is not None  # made before
        busy = {proposal.params.get("backbone") for proposal in running if proposal.source == "fine_tuning"}
        for backbone in [name for name in self._decided.ranked if name not in busy]:
            if (params := self._deeper(backbone, trials)) is not None:
                return Proposal(params=params, source="fine_tuning")
            self._decided.ranked.remove(backbone)
        return Proposal()

    def _deeper(self, backbone: str, trials: Trials) -> dict[str, Any] | None:
        """Return parameters to train one more stage with, if the last one paid."""
        best, trained = trials.objective_of(backbone), self._decided.trained.get(backbone, self._begin - 1)
        if backbone in self._decided.before and best <= self._decided.before[backbone]:
            return None
        if trained + 1 == self._decided.middles.get(backbone):
            trained += 1  # there is one already
        self._decided.trained[backbone], self._decided.before[backbone] = trained + 1, best
        return self._tuning(backbone, trained + 1)

    def _sprout(self, trials: Trials, left: float) -> None:
        """Add arms: the next depth of a backbone when the last one has shown itself, and what is sampled after all."""
        assert self._decided.ranked is not None  # made before
        for backbone in list(self._decided.ranked):
            if backbone in self._decided.middles:
                self._go_on_from_the_middle(backbone, trials)
            elif trained := self._middle_trained(backbone, trials, left):
                self._begin_in_the_middle(backbone, trained, trials)
            if not self._thaw.told(f"{backbone}/{self._decided.trained.get(backbone, 0)}"):
                continue
            if backbone not in self._decided.trained:
                self._decided.trained[backbone] = self._shallow(backbone, left) - 1
                self._decided.before[backbone] = -math.inf
            if (params := self._deeper(backbone, trials)) is None:
                if self._thaw.told(f"{backbone}/{self._decided.middles.get(backbone, 0)}"):
                    self._decided.ranked.remove(backbone)
                continue
            self._add(backbone, self._decided.trained[backbone], params, trials)
        count = len(self._decided.sampled)
        if self._policies and self._thaw.arms and all(self._thaw.told(arm.name, rungs=1) for arm in self._thaw.arms):
            self._thaw.add(self._sampled_arm(count, trials))

    def _shallow(self, backbone: str, left: float) -> int:
        """Return how many last stages are trained first: as many as a small share of the time left is enough for."""
        for trained in range(self._begin, 1, -1):
            if self._takes(backbone, trained, self._curves.rungs[-1]) <= _FIRST_SHARE * left:
                return trained
        return 1

    def _middle_trained(self, backbone: str, trials: Trials, left: float) -> int:
        """Return how many last stages to train if a backbone is to be trained from its middle on now, else 0."""
        arms, half = [arm for arm in self._decided.grown.values() if arm.backbone == backbone], self._middle(backbone)
        if (
            not arms
            and half
            and backbone in self._unlike
            and self._perfect_score - trials.objective_of(backbone) >= _MUCH
        ):
            return half if self._takes(backbone, half, self._fewest) <= _MIDDLE_SHARE * left else 0
        before, shown = arms[0].before if arms else 0.0, max((arm.objective for arm in arms), default=-math.inf)
        if shown - before < _PAID * (self._perfect_score - before) or self._perfect_score - shown < _MUCH:
            return 0
        deeper = range(half, max(arm.trained for arm in arms), -1)
        fits = (n for n in deeper if self._takes(backbone, n, self._fewest) <= _MIDDLE_SHARE * left)
        return next(fits, 0)

    def _begin_in_the_middle(self, backbone: str, trained: int, trials: Trials) -> None:
        self._decided.middles[backbone] = trained
        params = self._tuning(backbone, trained, far=True)
        assert params is not None  # it takes finite time
        self._add(backbone, trained, params, trials, _MIDDLE_GAIN)

    def _go_on_from_the_middle(self, backbone: str, trials: Trials) -> None:
        """Deepen from the middle, where that was the best thing to do."""
        middle = self._decided.middles[backbone]
        is_best = self._decided.grown[f"{backbone}/{middle}"].objective >= trials.objective_of(backbone)
        if is_best and self._decided.trained.get(backbone, 0) < middle:
            self._decided.trained[backbone], self._decided.before[backbone] = middle, -math.inf

    def _takes(self, backbone: str, trained: int, epochs: int) -> float:
        """Return the seconds that so many epochs of so many last stages take."""
        assert self._seconds is not None  # asked with a budget of time only
        params = self._tuning(backbone, trained)
        return math.inf if params is None else self._seconds(params, epochs)

    def _add(self, backbone: str, trained: int, params: dict[str, Any], trials: Trials, gain: float = 0.0) -> None:
        """Add an arm that is expected to gain a share of what is missing to the best score."""
        name, best = f"{backbone}/{trained}", trials.objective_of(backbone)
        self._decided.grown[name] = Grown(backbone=backbone, trained=trained, before=best)
        self._thaw.add(self._arm(name, params, best + gain * (self._perfect_score - best), trials))

    def _arm(self, name: str, params: dict[str, Any], expected: float, trials: Trials) -> Arm:
        assert self._seconds is not None  # arms are for budgets of time
        start, first = self._seconds(params, 0), self._seconds(params, 1)
        seconds = max(first - start, 1e-3)
        return self._scored(name, expected, trials, params=params, start=start, seconds=seconds)

    def _sampled_arm(self, count: int, trials: Trials) -> Arm:
        """Return an arm that the study fills in: about as costly as the others, and about as good as such were.

        Policies, and backbones of which more than a sample was worth its time, take turns.
        """
        backbones, name = trials.backbones(), f"sampled/{count + 1}"
        params = {"freeze": self._policies[count % len(self._policies)], "backbone": backbones[count % len(backbones)]}
        start, seconds = (float(np.median([getattr(arm, part) for arm in self._thaw.arms])) for part in _COSTS)
        best = trials.best
        expected = best.objective if best and best.objective is not None else 0.0
        self._decided.sampled[name] = expected = float(np.mean([expected, *self._decided.sampled.values()]))
        return self._scored(name, expected, trials, "sampled_tuning", params=params, start=start, seconds=seconds)

    def _scored(self, name: str, expected: float, trials: Trials, source: Source = "fine_tuning", **about: Any) -> Arm:
        best = trials.best
        known = expected if best is None or best.objective is None else max(best.objective, expected)
        missing = max(self._perfect_score - known, CHANCE)
        mean = [expected - _DIP * missing * (1 - rung / self._curves.rungs[-1]) ** 4 for rung in self._curves.rungs]
        std = [max(_SPREAD * missing, CHANCE)] * len(mean)
        return Arm(name=name, mean=mean, std=std, source=source, **about)
