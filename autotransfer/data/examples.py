"""Examples before they are read: what they are, their targets, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from autotransfer.contract.modality import Item, Modality, Skipped
from autotransfer.data.columns import TargetFormat, match_target_format
from autotransfer.errors import DataError
from autotransfer.warnings import FitWarning

__all__ = ["Examples", "Part", "modality_of", "refuse_other_modality"]

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled or unlabelled examples, not decoded yet.

    Attributes:
        items: One path, or value in memory, for each example; anything indexable, so a data set may load lazily.
        names: What to call each in messages and results: its path, or ``item 3``.
        targets: One target for each example, as given; None for prediction.
        groups: Group of each example, which no split separates; None in it is a group of one. None where nothing
            was said.
        skipped: What was found but left out, and why.
        weights: Weight of each example, in relation to the others; None weights all equally.
        held_out: Whether each is there to score candidates on, not to train them; None where a split is to be made.
        reading: How the targets were read.
        warnings: What a user should know of how they were read.
        parts: The part that each belongs to, where the data are divided already; None where they are not.
        divided_by: What divides them, such as ``the column 'split'``.
        described: What was read from where, in a few words.
        advice: What to do about what was left out.
        columns: Columns of a table that hold them, or their paths.
        ignored_files: Number of files that are no examples, such as ``Thumbs.db``, by suffix or name.
        modality: What kind of examples they are; None where that is not known yet.
    """

    items: Sequence[Item]
    names: tuple[str, ...]
    targets: Sequence[Any] | None = None
    groups: tuple[Hashable, ...] | None = None
    weights: tuple[float, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    held_out: tuple[bool, ...] | None = None
    reading: TargetFormat = field(default_factory=TargetFormat)
    warnings: tuple[FitWarning, ...] = ()
    parts: tuple[Part, ...] | None = None
    divided_by: str = ""
    described: str = ""
    advice: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    ignored_files: Mapping[str, int] = field(default_factory=dict)
    modality: Modality | None = None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int], skipped: Sequence[Skipped] = ()) -> Examples:
        """Return some of the examples, and what was left out beside what already is."""
        return replace(
            self,
            items=[self.items[i] for i in rows] if isinstance(self.items, list) else _Some(self.items, rows),
            names=tuple(self.names[i] for i in rows),
            targets=None if self.targets is None else [self.targets[i] for i in rows],
            groups=None if self.groups is None else tuple(self.groups[i] for i in rows),
            weights=None if self.weights is None else tuple(self.weights[i] for i in rows),
            held_out=None if self.held_out is None else tuple(self.held_out[i] for i in rows),
            parts=None if self.parts is None else tuple(self.parts[i] for i in rows),
            skipped=(*self.skipped, *skipped),
        )

    @property
    def file_names(self) -> tuple[str, ...]:
        """The name of each that is a file, and nothing for the others: rows that follow each other are no series."""
        items = self.items
        if not isinstance(items, list):
            return ("",) * len(self.names)
        return tuple(name if isinstance(item, Path) else "" for name, item in zip(self.names, items, strict=True))

    def only(self, part: Part) -> Examples:
        """Return the examples of one part; all of them where they are not divided, or where that part has none."""
        if self.parts is None or part not in self.parts:
            return self
        return replace(self.take([i for i, own in enumerate(self.parts) if own == part]), parts=None)

    def holding_out(self, others: Examples) -> Examples:
        """Return these examples, and behind them others that candidates are scored on.

        Where the examples of one side alone have weights, each of the other side has their mean.

        Raises:
            DataError: Their targets are in other columns, or they are of another modality.
        """
        others = others.match_targets(self)
        refuse_other_modality(self, others)
        known, both = set(self.names), (self.items, others.items)
        return Examples(
            items=[*self.items, *others.items] if all(isinstance(part, list) for part in both) else _Joined(*both),
            names=self.names + tuple(f"validation {name}" if name in known else name for name in others.names),
            targets=[*(self.targets or ()), *(others.targets or ())],
            weights=_joined_weights(self, others),
            skipped=self.skipped + others.skipped,
            held_out=(False,) * len(self) + (True,) * len(others),
            reading=self.reading,
            warnings=self.warnings + others.warnings,
            described="; to score candidates on, ".join(filter(None, (self.described, others.described))),
            advice=tuple(dict.fromkeys(self.advice + others.advice)),
            columns=self.columns,
            ignored_files=Counter(self.ignored_files) + Counter(others.ignored_files),
            modality=self.modality,
        )

    def match_targets(self, trained: Examples) -> Examples:
        """Return these examples with targets written as those of the training examples; see ``match_target_format``.

        Raises:
            DataError: Their targets are in other columns.
        """
        if self.targets is None or trained.targets is None:
            return self
        targets, reading = match_target_format(self.targets, self.reading, trained.targets, trained.reading)
        return replace(self, targets=targets, reading=reading)


def _joined_weights(first: Examples, second: Examples) -> tuple[float, ...] | None:
    known = [weight for part in (first, second) for weight in part.weights or () if weight > 0]
    if first.weights is None and second.weights is None:
        return None
    mean = sum(known) / max(len(known), 1)
    return tuple(weight for part in (first, second) for weight in part.weights or (mean,) * len(part))


def refuse_other_modality(trained: Examples, others: Examples) -> None:
    """Refuse examples to score on that are of another kind than those to train on.

    Raises:
        DataError: They are.
    """
    kinds = (trained.modality, others.modality)
    if None not in kinds and kinds[0] is not kinds[1]:
        nouns = [kind.noun for kind in kinds if kind is not None]
        raise DataError(f"The examples to train on are {nouns[0]}s, those to score on are {nouns[1]}s: give one kind.")


def modality_of(examples: Examples) -> Modality:
    """Return what kind of examples they are.

    Raises:
        DataError: Nobody has said so.
    """
    if examples.modality is None:
        raise DataError("What kind of examples these are is not known: load them with load_examples.")
    return examples.modality


class _Some(Sequence[Item]):
    """Some items of a sequence, each fetched when it is asked for."""

    def __init__(self, items: Sequence[Item], rows: Sequence[int]) -> None:
        self.items, self.rows = items, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        return self.items[self.rows[i]]


class _Joined(Sequence[Item]):
    """The items of one sequence, then those of another, each fetched when it is asked for."""

    def __init__(self, first: Sequence[Item], second: Sequence[Item]) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, i: Any) -> Any:
        beyond = i - len(self.first)
        return self.first[i] if beyond < 0 else self.second[beyond]
