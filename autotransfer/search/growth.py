"""What a live search tries, in which order: screening, then probes, and between them fine-tuning that grows.

Probes of frozen backbones cost next to nothing on cached features, and each of them tells something. Fine-tuning
grows from the head downwards, backbone by backbone, as long as training deeper pays. Where the last stages gain much
early on, much is missing still, and there are many examples, half of the backbone is trained next, if only for a few
epochs: last stages cannot make up for features that they are not given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np

from autotransfer.search.budget import Order, Proposed
from autotransfer.search.records import TrialRecord, Trials
from autotransfer.search.schedule import Arm, CurveModel, FreezeThaw
from autotransfer.search.views import Views

__all__ = ["Growth"]

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
# Until there were so many probes, they get half of the time; unless the last ones brought nothing better.
_PROBES, _VAIN = 40, 12
# They have no chance where what trains stages makes so large a share fewer errors than the best of them.
_BEHIND = 0.5
# Before it is seen, fine-tuning is expected to end where the best probe is, give or take a share of what is missing to
# a perfect score. In its first epochs, at the highest learning rate, it loses about all of that.
_SPREAD, _DIP = 0.3, 1.0
# Least deviation of a score: what chance does to it.
_CHANCE = 0.01
# Share of the time left that the first fine-tuning of a backbone may take if it trains more than the last stage.
_FIRST_SHARE = 0.3
# A backbone is trained from its middle on when its last stages gained this share of what probes miss to the best score,
# and more than that is missing still. Its fewest epochs may take a share of the time left. It is expected to gain a
# share of the rest. On textures, the last stages gained nothing and the middle lost; on signs, a half and most of it.
_PAID, _MUCH, _MIDDLE_SHARE, _MIDDLE_GAIN = 0.1, 0.03, 0.7, 0.5
# Share of the time left that a pass through a backbone at its other size, or those in more views, may take.
_PASS_SHARE = 0.1
_COSTS = ("start", "seconds")
# A smaller gain is none.
_GAIN = 1e-3


class Growth:
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
        ceiling: The best score that the metric has.
        begin: Number of last stages that are trained first; fewer where the time left is too short for that.
        middle: ``middle(backbone)`` returns how many last stages are trained early on, within a time budget, where much
            is missing to the best score; fewer where the time left is too short for that.
        fewest: Epochs that have to fit in.
        others: By the name of a screened backbone, the name of the same one at another input size.
        unlike: Backbones that have seen other images than those of the task, as far as can be said of any.
        views: In how many views backbones see images: the best ones are looked at in more of them.
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
        ceiling: float = 1.0,
        begin: int = 1,
        middle: Callable[[str], int] = lambda backbone: 0,
        fewest: int = 3,
        others: Mapping[str, str] | None = None,
        unlike: Collection[str] = (),
        views: Views | None = None,
    ) -> None:
        self._screening, self._first, self._tuning, self._probe = list(screening), tuple(screening), tuning, probe
        self._seconds, self._ceiling, self._curves, self._policies = seconds, ceiling, curves, policies
        self._middle, self._fewest = middle, fewest
        self._others, self._unlike = dict(others or {}) if screening else {}, unlike
        self._one_of = {other: name for name, other in self._others.items()}  # what names one backbone at two sizes
        self._thaw = FreezeThaw(curves)
        self._screened, self._issued, self._begin = set[int](), 0, begin  # numbers of trials; of orders; of stages
        self._timed = False  # an epoch has just told what one takes: what paused for it goes on
        self._sampled: dict[str, float] = {}  # the objectives of sampled arms
        self._views = Views() if views is None else views
        self._ranked: list[str] | None = None
        self._trained, self._before = dict[str, int](), dict[str, float]()
        self._grown: dict[str, _Grown] = {}
        self._middles: dict[str, int] = {}  # backbones that are trained from the middle on: number of stages that train

    def next(self, trials: Trials, left: float, running: Sequence[Order] = ()) -> Order | None:
        """Return what is tried next; None where what is being tried has to end first."""
        screens = any(order.proposed == "screened" for order in running)
        far = "" if self._screening or running else self._far_first(trials, left)
        if self._others and not self._screening and not screens and not far:
            self._screening, self._others = self._other_sizes(trials, left), {}
            self._ranked = None  # there are more to rank
        if self._screening:
            return Order(params=self._screening.pop(self._next_screened(trials, running)), proposed="screened")
        if not screens and not far and (closer := self._closer(trials, left)) is not None:
            return Order(params=closer, proposed="screened")
        position, self._issued, pays = self._issued, self._issued + 1, self._probes_pay(trials)
        # Beside what trains stages, waiting is better than a probe in vain: many of these in a row end a search.
        probing = position % (_BETWEEN + 1) or self._hasty(trials) if pays else position % 2 and not running
        # What is still screened may be what is tuned first.
        if (probing and not self._timed and not far) or screens:
            return self._probing()
        if self._ranked is None:
            self._ranked = self._to_tune(trials)
        if self._seconds is None:
            return self._one_after_the_other(trials, running)
        if not far:
            self._sprout(trials, left)
        elif far not in self._middles:
            self._begin_in_the_middle(far, self._middle_trained(far, trials, left), trials)
        if (order := self._thaw.next(trials, left, running)) is not None:
            return order
        if running and not pays:
            return None
        return self._probing() if running or far else Order()

    def observe(self, order: Order, record: TrialRecord | None) -> None:
        """Take in what came of an order."""
        if order.arm:
            self._thaw.observe(order, record)
            curve = () if record is None or record.state != "paused" else record.curve
            self._timed = bool(curve) and len(curve) not in self._curves.rungs
        if order.proposed == "screened":
            objective = None if record is None else record.objective
            self._views.judge(str(order.params.get("backbone")), objective, self._ceiling)
            self._screened |= set() if record is None else {record.number}
        if record is None or record.objective is None:
            return
        if order.arm in self._sampled:
            self._sampled[order.arm] = record.objective
        if order.arm in self._grown:
            self._grown[order.arm].objective = record.objective

    def _next_screened(self, trials: Trials, running: Sequence[Order]) -> int:
        """Return the place of what is screened next: side by side, two would wait for one backbone's features.

        Where time is what counts, a backbone whose features are there is looked at under each head before the next one.
        """
        busy = {order.params.get("backbone") for order in running}
        free = [place for place, params in enumerate(self._screening) if params.get("backbone") not in busy]
        seen = {record.candidate.backbone for record in trials if record.candidate} if self._seconds else set[str]()
        known = [place for place in free if self._screening[place].get("backbone") in seen]
        return next(iter(known or free), 0)

    def _far_first(self, trials: Trials, left: float) -> str:
        """Return the best backbone if it trains from its middle before all else that is not screening; else nothing.

        It has seen images of another kind. That alone can make up for it, and wants the time while there is much.
        """
        name = next(iter(trials.backbones()), "")
        if self._seconds is None or name not in self._unlike or name not in (self._ranked or [name]):
            return ""
        if name in self._middles:
            return "" if self._thaw.told(f"{name}/{self._middles[name]}") else name
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
        ranked = [] if self._are_behind(trials) else trials.backbones()[: 1 if self._seconds is None else _TUNED]

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

    def _probing(self) -> Order:
        return Order(params={} if self._probe is None else {"freeze": self._probe})

    def _one_after_the_other(self, trials: Trials, running: Sequence[Order]) -> Order:
        """Return the next depth of the first backbone that training deeper still pays for; it rests meanwhile."""
        assert self._ranked is not None  # made before
        busy = {order.params.get("backbone") for order in running if order.proposed == "grown"}
        for backbone in [name for name in self._ranked if name not in busy]:
            if (params := self._deeper(backbone, trials)) is not None:
                return Order(params=params, proposed="grown")
            self._ranked.remove(backbone)
        return Order()

    def _deeper(self, backbone: str, trials: Trials) -> dict[str, Any] | None:
        """Return parameters to train one more stage with, if the last one paid."""
        best, trained = trials.objective_of(backbone), self._trained.get(backbone, self._begin - 1)
        if backbone in self._before and best <= self._before[backbone]:
            return None
        if trained + 1 == self._middles.get(backbone):
            trained += 1  # there is one already
        self._trained[backbone], self._before[backbone] = trained + 1, best
        return self._tuning(backbone, trained + 1)

    def _sprout(self, trials: Trials, left: float) -> None:
        """Add arms: the next depth of a backbone when the last one has shown itself, and what is sampled after all."""
        assert self._ranked is not None  # made before
        for backbone in list(self._ranked):
            if backbone in self._middles:
                self._go_on_from_the_middle(backbone, trials)
            elif trained := self._middle_trained(backbone, trials, left):
                self._begin_in_the_middle(backbone, trained, trials)
            if not self._thaw.told(f"{backbone}/{self._trained.get(backbone, 0)}"):
                continue
            if backbone not in self._trained:
                self._trained[backbone], self._before[backbone] = self._shallow(backbone, left) - 1, -math.inf
            if (params := self._deeper(backbone, trials)) is None:
                if self._thaw.told(f"{backbone}/{self._middles.get(backbone, 0)}"):
                    self._ranked.remove(backbone)
                continue
            self._add(backbone, self._trained[backbone], params, trials)
        count = len(self._sampled)
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
        arms, half = [arm for arm in self._grown.values() if arm.backbone == backbone], self._middle(backbone)
        if not arms and half and backbone in self._unlike and self._ceiling - trials.objective_of(backbone) >= _MUCH:
            return half if self._takes(backbone, half, self._fewest) <= _MIDDLE_SHARE * left else 0
        before, shown = arms[0].before if arms else 0.0, max((arm.objective for arm in arms), default=-math.inf)
        if shown - before < _PAID * (self._ceiling - before) or self._ceiling - shown < _MUCH:
            return 0
        deeper = range(half, max(arm.trained for arm in arms), -1)
        fits = (n for n in deeper if self._takes(backbone, n, self._fewest) <= _MIDDLE_SHARE * left)
        return next(fits, 0)

    def _begin_in_the_middle(self, backbone: str, trained: int, trials: Trials) -> None:
        self._middles[backbone] = trained
        params = self._tuning(backbone, trained, far=True)
        assert params is not None  # it takes finite time
        self._add(backbone, trained, params, trials, _MIDDLE_GAIN)

    def _go_on_from_the_middle(self, backbone: str, trials: Trials) -> None:
        """Deepen from the middle, where that was the best thing to do."""
        middle = self._middles[backbone]
        is_best = self._grown[f"{backbone}/{middle}"].objective >= trials.objective_of(backbone)
        if is_best and self._trained.get(backbone, 0) < middle:
            self._trained[backbone], self._before[backbone] = middle, -math.inf

    def _takes(self, backbone: str, trained: int, epochs: int) -> float:
        """Return the seconds that so many epochs of so many last stages take."""
        assert self._seconds is not None  # asked with a budget of time only
        params = self._tuning(backbone, trained)
        return math.inf if params is None else self._seconds(params, epochs)

    def _add(self, backbone: str, trained: int, params: dict[str, Any], trials: Trials, gain: float = 0.0) -> None:
        """Add an arm that is expected to gain a share of what is missing to the best score."""
        name, best = f"{backbone}/{trained}", trials.objective_of(backbone)
        self._grown[name] = _Grown(backbone=backbone, trained=trained, before=best)
        self._thaw.add(self._arm(name, params, best + gain * (self._ceiling - best), trials))

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
        self._sampled[name] = expected = float(np.mean([expected, *self._sampled.values()]))
        return self._scored(name, expected, trials, "varied", params=params, start=start, seconds=seconds)

    def _scored(self, name: str, expected: float, trials: Trials, proposed: Proposed = "grown", **about: Any) -> Arm:
        best = trials.best
        known = expected if best is None or best.objective is None else max(best.objective, expected)
        missing = max(self._ceiling - known, _CHANCE)
        mean = [expected - _DIP * missing * (1 - rung / self._curves.rungs[-1]) ** 4 for rung in self._curves.rungs]
        std = [max(_SPREAD * missing, _CHANCE)] * len(mean)
        return Arm(name=name, mean=mean, std=std, proposed=proposed, **about)

    def _probes_pay(self, trials: Trials) -> bool:
        """Whether one of the last probes brought something better, or there were too few to say, but are near."""
        if self._are_behind(trials):
            return False
        best, gains = -math.inf, list[bool]()
        for record in trials:
            if self._is_probe(record) and record.number not in self._screened:
                gains.append(_objective(record) > best + _GAIN)
            best = max(best, _objective(record))
        return len(gains) < _VAIN or any(gains[-_VAIN:])

    def _are_behind(self, trials: Trials) -> bool:
        """Whether what trains stages is so far ahead of all probes that these have no chance."""
        best = max(map(_objective, trials), default=-math.inf)
        probed = max(map(_objective, filter(self._is_probe, trials)), default=-math.inf)
        return best - probed > max(_BEHIND * (self._ceiling - probed), _CHANCE)

    def _hasty(self, trials: Trials) -> bool:
        """Whether fine-tuning has taken more than its share while there is still much to learn from probes."""
        if self._probe is None or self._seconds is None:
            return False
        probes, seconds = 0, {True: 0.0, False: 0.0}
        for record in (record for record in trials if record.number not in self._screened):
            is_probe = self._is_probe(record)
            probes, seconds[is_probe] = probes + is_probe, seconds[is_probe] + record.seconds
        return probes < _PROBES and seconds[False] > seconds[True]

    def _is_probe(self, record: TrialRecord) -> bool:
        return record.candidate is not None and record.candidate.freeze == self._probe


def _objective(record: TrialRecord) -> float:
    return -math.inf if record.objective is None else record.objective


@dataclass
class _Grown:
    """A depth of a backbone that is trained.

    Attributes:
        backbone: Its name.
        trained: Number of last stages that train.
        before: The backbone's best before.
        objective: What came of it so far.
    """

    backbone: str
    trained: int
    before: float
    objective: float = -math.inf
