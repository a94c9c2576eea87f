"""The search space: from an Optuna trial to a candidate. The only caller of ``trial.suggest_*``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autotransfer.candidate import Candidate
from autotransfer.contract.plugin_call import plugin_call
from autotransfer.contract.specs import BackboneSpec, FreezePolicySpec, HeadSpec
from autotransfer.errors import ConfigError, PluginError

__all__ = ["SearchSpace", "freezes_all"]

# The distributions that a setting may have.
_DISTRIBUTIONS = (CategoricalDistribution, FloatDistribution, IntDistribution)

# Training settings that are searched. A head alone bears a higher learning rate than a backbone that trains with it.
_SHARED: Mapping[str, BaseDistribution] = {
    "optimizer": CategoricalDistribution(("adamw", "sgd")),
    "weight_decay": FloatDistribution(1e-5, 1e-1, log=True),
    "batch_size": CategoricalDistribution((16, 32, 64)),
    "label_smoothing": FloatDistribution(0.0, 0.2),
}
_FROZEN: Mapping[str, BaseDistribution] = {**_SHARED, "lr": FloatDistribution(3e-4, 3e-2, log=True)}
_TUNE: Mapping[str, BaseDistribution] = {
    **_SHARED,
    "lr": FloatDistribution(3e-4, 1e-2, log=True),
    "backbone_lr": FloatDistribution(3e-2, 1.0, log=True),
    "batch_norm": CategoricalDistribution(("frozen", "live")),
}

# Settings to begin fine-tuning with, when the head starts from a solution; more stages bear a lower rate.
_GENTLE_TUNING: Mapping[str, Any] = {
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 1e-3,
    "batch_size": 32,
    "label_smoothing": 0.05,
    "batch_norm": "frozen",
}
_LAST_STAGE_LR, _MORE_STAGES_LR = 1.0, 0.3
# Below this number of training examples, high rates overfit: a third of the rate validated 9 points better
# on 215 X-rays and 2 points on 244 photographs (means over eight setups each, examples/benchmarks/oracle.jsonl).
MAX_EXAMPLES_FOR_LOW_RATES = 500
LOW_RATES: Mapping[str, Any] = {"tuned.lr": 3e-4, "tuned.backbone_lr": 1.0}
DISTANT_TASK_SETTINGS: Mapping[str, Any] = {"tuned.lr": 5e-4, "tuned.backbone_lr": 1.0, "tuned.batch_size": 16}

# Epochs of a head alone, in times of those of a candidate that trains stages: they cost next to nothing.
HEAD_EPOCHS_FACTOR = 3


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What may be combined.

    Attributes:
        backbones: Backbones to choose from, the cheapest first.
        heads: Heads to choose from.
        policies: Freeze policies to choose from.
        starts: Closed-form heads whose solution a head that is tuned with the backbone may start from.
        stages: Returns the stages of a backbone.
        epochs: Epochs of a candidate that trains stages.
        examples: Number of examples to train on.
        variants: By the name of a form of a backbone that is not tried first, the name of the form before it.
        views: Numbers of views that are offered, rising from 1.
        adaptable: Whether a backbone has linear layers, which adapters need.
        augmentations: Strengths of the augmentation, ``"none"`` first, then the mildest.
    """

    backbones: tuple[BackboneSpec, ...]
    heads: tuple[HeadSpec, ...]
    policies: tuple[FreezePolicySpec, ...]
    starts: Mapping[str, tuple[str, ...]]
    stages: Callable[[str], tuple[str, ...]]
    epochs: int
    examples: int
    variants: Mapping[str, str] = field(default_factory=dict)
    views: tuple[int, ...] = (1,)
    adaptable: Callable[[str], bool] = lambda name: True
    augmentations: tuple[str, ...] = ("none",)

    def __post_init__(self) -> None:
        for head in self.heads:
            for name, distribution in head.parameters.items():
                if not isinstance(distribution, _DISTRIBUTIONS):
                    raise PluginError(
                        f"The head {head.name!r} gives its setting {name!r} a {type(distribution).__name__}; "
                        f"use one of {[known.__name__ for known in _DISTRIBUTIONS]}."
                    )
        if not self._gradient_heads and not any(freezes_all(policy) for policy in self.policies):
            raise ConfigError(
                f"The heads {[h.name for h in self.heads]} are solved in closed form, which needs a freeze policy "
                f"that freezes the whole backbone; got {[p.name for p in self.policies]}. Add one, or another head."
            )

    @classmethod
    def of(
        cls,
        *,
        backbones: Sequence[BackboneSpec],
        heads: Sequence[HeadSpec],
        policies: Sequence[FreezePolicySpec],
        **about: Any,
    ) -> SearchSpace:
        """Return the space without backbones none of whose own heads is offered, or that no policy freezes.

        Raises:
            ConfigError: None is left.
        """
        offered = {head.name for head in heads}
        own = offered if any(map(freezes_all, policies)) else set[str]()
        suited = tuple(spec for spec in backbones if spec.heads is None or own.intersection(spec.heads))
        if not suited:
            known = sorted({name for spec in backbones for name in spec.heads or ()})
            raise ConfigError(
                f"The heads {sorted(offered)} and freeze policies {[policy.name for policy in policies]} suit none of "
                f"the backbones {[spec.name for spec in backbones]}, which stay frozen under {known}; add one of these "
                "heads and a policy that freezes all, or another backbone."
            )
        return cls(backbones=suited, heads=tuple(heads), policies=tuple(policies), **about)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Candidate:
        """Choose a candidate."""
        backbone = trial.suggest_categorical("backbone", [spec.name for spec in self.backbones])
        stages = self.stages(backbone)
        if own := self._own_heads(backbone):
            return self._suggest_own(trial, backbone, own)
        policy = self._suited(self._choose(trial, "freeze", self._usable_policies), backbone, stages)
        with plugin_call(f"The freeze policy {policy.name!r}"):
            freeze_params = self._suggest_all(trial, f"freeze.{policy.name}@{len(stages)}", policy.parameters(stages))
            plan = policy.plan(stages, freeze_params)
            frozen = plan.depth == len(stages)
        heads = self._any_heads if frozen else self._gradient_heads
        head = self._choose(trial, "head" if frozen else "tuned_head", heads)
        views = trial.suggest_categorical("views", self.views) if len(self.views) > 1 else 1
        training: dict[str, Any] = {"views": views} if views > 1 else {}
        if head.solve is None:
            known = dict(_FROZEN if frozen else _TUNE)
            if plan.depth == 0:  # otherwise examples do not pass through the whole network
                known["augmentation"] = CategoricalDistribution(self.augmentations)
            training |= self._suggest_all(trial, "frozen" if frozen else "tuned", known)
            if not frozen and (starts := self.starts.get(head.name)):
                training["start"] = trial.suggest_categorical(f"tuned.{head.name}.start", ("", *starts))
            training["epochs"] = self.head_epochs if frozen else self.epochs
        return Candidate(
            backbone=backbone,
            head=head.name,
            freeze=policy.name,
            head_params=self._suggest_all(trial, f"head.{head.name}", head.parameters),
            freeze_params=freeze_params,
            training=training,
        )

    def _suggest_own(self, trial: optuna.trial.BaseTrial, backbone: str, own: tuple[HeadSpec, ...]) -> Candidate:
        """Choose a candidate of a backbone that has heads of its own, which stays frozen."""
        assert self.freezing is not None  # such backbones are left out where nothing freezes all
        head = own[0] if len(own) == 1 else self._choose(trial, f"head@{backbone}", own)
        settings = self._suggest_all(trial, f"head.{head.name}", head.parameters)
        return Candidate(backbone=backbone, head=head.name, freeze=self.freezing, head_params=settings)

    def _own_heads(self, backbone: str) -> tuple[HeadSpec, ...]:
        """Return the offered heads of a backbone that has heads of its own; none of others."""
        names = next((spec.heads for spec in self.backbones if spec.name == backbone), None) or ()
        return tuple(head for head in self.heads if head.name in names)

    @property
    def frozen_only(self) -> frozenset[str]:
        """Names of the backbones that have heads of their own."""
        return frozenset(spec.name for spec in self.backbones if spec.heads is not None)

    @property
    def _any_heads(self) -> tuple[HeadSpec, ...]:
        own = {name for spec in self.backbones for name in spec.heads or ()}
        return tuple(head for head in self.heads if head.name not in own)

    @property
    def freezing(self) -> str | None:
        """Name of a policy that freezes the whole backbone; None where there is none."""
        return next((policy.name for policy in self.policies if freezes_all(policy)), None)

    @property
    def tuning_policies(self) -> tuple[str, ...]:
        """Names of the policies that train stages, where a head can be trained with them."""
        return tuple(policy.name for policy in self._usable_policies if not freezes_all(policy))

    def screening(self) -> list[dict[str, Any]]:
        """Return the first trials to enqueue: every backbone frozen, cheapest first, under each closed-form head.

        Each at one input size: at its other one when it has shown itself.
        """
        frozen = self.freezing
        if frozen is None:
            return []
        offered = self._any_heads
        solved = [head for head in offered if head.solve is not None]
        heads = solved or [head for head in offered if head.features == "pooled"][:1] or list(offered[:1])
        first = [backbone for backbone in self.backbones if backbone.name not in self.variants]
        pairs = [(head, backbone) for head, backbone in product(heads, first) if backbone.heads is None]
        own = [(head, backbone) for backbone in first for head in self._own_heads(backbone.name)]
        return [
            {"backbone": backbone.name, "freeze": frozen, "head": head.name}
            | ({"views": 1} if backbone.heads is None else {f"head@{backbone.name}": head.name})
            | {f"head.{head.name}.{name}": _middle(d) for name, d in head.parameters.items()}
            for head, backbone in [*own, *pairs]
        ]

    def drawn_heads(self, backbone: str) -> tuple[HeadSpec, ...]:
        """Return the heads of a frozen backbone whose settings are drawn.

        These are the heads that train by gradient. Draws of closed forms, which are screened with middling settings,
        brought nothing in live searches; they are drawn where there is no other head.
        """
        heads = self._own_heads(backbone) or self._any_heads
        return tuple(head for head in heads if head.solve is None) or heads

    def frozen(self, backbone: str, views: int) -> list[dict[str, Any]]:
        """Return parameters of a frozen trial under each head that is drawn, with settings that are not extreme."""
        given = list[dict[str, Any]]()
        for head in self.drawn_heads(backbone):
            params = {"backbone": backbone, "views": views, "freeze": self.freezing, "head": head.name}
            params |= {f"head@{backbone}": head.name}
            params |= {f"head.{head.name}.{name}": _middle(d) for name, d in head.parameters.items()}
            given.append(params | {f"frozen.{name}": _middle(d) for name, d in _FROZEN.items() if head.solve is None})
        return given

    @property
    def head_epochs(self) -> int:
        """Epochs of a head alone that is trained by gradient."""
        return self.epochs * HEAD_EPOCHS_FACTOR

    def tuning(self, backbone: str, trained: int, *, views: int = 1, distant: bool = False) -> dict[str, Any] | None:
        """Return parameters of a trial that trains the last ``trained`` stages; None where that cannot be said.

        The head starts from a closed form's solution where one fits, and rates are those that seldom do harm; where
        the task is known to be far from what the backbone has learned, those that get far in a few epochs.
        """
        if backbone in self.frozen_only:
            return None
        stages = self.stages(backbone)
        heads = sorted(self._gradient_heads, key=lambda head: (head.name not in self.starts, head.name))
        plain = [policy for policy in self.policies if self._is_plain(policy, stages)]
        if not heads or not plain or not 0 < trained <= len(stages):
            return None
        policy, head, key = plain[0], heads[0], f"freeze.{plain[0].name}@{len(stages)}"
        settings = policy.parameters(stages)
        params = {f"{key}.{name}": _gentle(distribution) for name, distribution in settings.items()}
        params |= {f"{key}.depth": len(stages) - trained}
        params |= {f"head.{head.name}.{name}": _gentle(d) for name, d in head.parameters.items()}
        params |= {f"tuned.{name}": value for name, value in _GENTLE_TUNING.items()}
        params["tuned.augmentation"] = self.augmentations[:2][-1]
        params["tuned.backbone_lr"] = _LAST_STAGE_LR if trained == 1 else _MORE_STAGES_LR
        params |= DISTANT_TASK_SETTINGS if distant else LOW_RATES if self.examples < MAX_EXAMPLES_FOR_LOW_RATES else {}
        if starts := self.starts.get(head.name):
            params[f"tuned.{head.name}.start"] = starts[0]
        return {"backbone": backbone, "views": views, "freeze": policy.name, "tuned_head": head.name, **params}

    @property
    def _gradient_heads(self) -> tuple[HeadSpec, ...]:
        return tuple(head for head in self._any_heads if head.solve is None and head.features != "stages")

    @property
    def _usable_policies(self) -> tuple[FreezePolicySpec, ...]:
        """Policies that train stages need a head that trains by gradient."""
        if self._gradient_heads:
            return self.policies
        return tuple(policy for policy in self.policies if freezes_all(policy))

    def _suited(self, policy: FreezePolicySpec, backbone: str, stages: tuple[str, ...]) -> FreezePolicySpec:
        """Return a policy, or for adapters on a backbone that has no place for them the first one without adapters."""
        if not self._trains_adapters(policy, stages) or self.adaptable(backbone):
            return policy
        others = (other for other in self._usable_policies if not self._trains_adapters(other, stages))
        return next(others, policy)

    @staticmethod
    def _trains_adapters(policy: FreezePolicySpec, stages: tuple[str, ...]) -> bool:
        with plugin_call(f"The freeze policy {policy.name!r}"):
            return policy.plan(stages, {}).adapters is not None

    @staticmethod
    def _is_plain(policy: FreezePolicySpec, stages: tuple[str, ...]) -> bool:
        """Whether all of the stages below a depth train, all the time."""
        try:
            with plugin_call(f"The freeze policy {policy.name!r}"):
                plan = policy.plan(stages, {})
                return "depth" in policy.parameters(stages) and len(plan.phases) == 1 and plan.trained == "all"
        except Exception:  # as above
            return False

    @staticmethod
    def _choose(trial: optuna.trial.BaseTrial, name: str, specs: tuple[Any, ...]) -> Any:
        chosen = trial.suggest_categorical(name, [spec.name for spec in specs])
        return next(spec for spec in specs if spec.name == chosen)

    @staticmethod
    def _suggest_all(
        trial: optuna.trial.BaseTrial, prefix: str, distributions: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {name: _suggest(trial, f"{prefix}.{name}", d) for name, d in distributions.items()}


def freezes_all(policy: FreezePolicySpec) -> bool:
    """Whether a policy trains no stage of any backbone."""
    stages = ("a", "b")
    try:
        with plugin_call(f"The freeze policy {policy.name!r}"):
            return policy.plan(stages, {}).depth == len(stages)
    except Exception:  # made for certain stages only; where it is chosen for others, it costs that trial
        return False


def _middle(distribution: BaseDistribution) -> Any:
    """Return a value that is extreme in no direction."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, (IntDistribution, FloatDistribution))  # the contract allows no other kind
    low, high = distribution.low, distribution.high
    middle = math.sqrt(low * high) if distribution.log else (low + high) / 2
    return round(middle) if isinstance(distribution, IntDistribution) else middle


def _gentle(distribution: BaseDistribution) -> Any:
    """Return the value that changes least: no dropout, no decay of learning rates."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, (IntDistribution, FloatDistribution))  # the contract allows no other kind
    return distribution.low if distribution.low <= 0 else distribution.high


def _suggest(trial: optuna.trial.BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    raise ConfigError(f"The parameter {name!r} has a {type(distribution).__name__}; use one of optuna.distributions.")
