"""How a folder of classes is laid out: where the classes begin, and whether it is divided into train and test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autotransfer.data.examples import Part
from autotransfer.data.split_names import find_split_names, split_of_name
from autotransfer.errors import DataError

__all__ = ["NO_LABEL", "Layout"]

NO_LABEL = "in a part of the data, but in no folder of a class: it has no label"
Steps = tuple[str, ...]  # a path below the root, step by step


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the classes of a folder are.

    Attributes:
        start: Folders that hold nothing but the next one.
        outer: Part by the name of a folder that holds classes: ``train/cat/1.jpg``.
        inner: Part by the name of a folder within a class: ``cat/train/1.jpg``.
        starts: The same as ``start``, within each folder of ``outer``.
        hints: What else the layout could mean.
    """

    start: Steps = ()
    outer: Mapping[str, Part] = field(default_factory=dict)
    inner: Mapping[str, Part] = field(default_factory=dict)
    starts: Mapping[str, Steps] = field(default_factory=dict)
    hints: tuple[str, ...] = ()

    @classmethod
    def of(cls, files: Iterable[Steps], known: Collection[str] = ()) -> Layout:
        """Find out how a folder is laid out.

        Args:
            files: The paths of its examples below it.
            known: Classes that are known already: a folder of that name is a class.

        Raises:
            DataError: All folders are parts such as test, and none of them is there to train on.
        """
        paths = list(files)
        start = _start(paths, known)
        paths = [path[len(start) :] for path in paths if path[: len(start)] == start]
        below = [path for path in paths if len(path) > 1]
        folders = Counter(path[0] for path in below)
        outer = find_split_names(folders)
        deep = Counter(path[0] for path in below if len(path) > 2)
        if outer and all(2 * deep[name] > folders[name] for name, part in outer.items() if part == "train"):
            inside = defaultdict(list)
            for path in below:
                inside[path[0]].append(path[1:])
            starts = {name: _start(inside[name], known) for name, part in outer.items() if part == "train"}
            known = {
                *known,
                *(path[len(starts[name])] for name in starts for path in inside[name] if len(path) > len(starts[name])),
            }
            starts |= {name: _start(inside[name], known) for name in outer if name not in starts}
            return cls(start=start, outer=outer, starts=starts)
        if folders and deep == folders and all(map(split_of_name, folders)):
            raise DataError(
                f"The sub-folders are splits, not classes ({', '.join(sorted(folders))}), and none is there to train "
                "on beside another one: give the one that holds the classes."
            )
        return cls._of_classes(start, below, outer)

    @classmethod
    def _of_classes(cls, start: Steps, below: Sequence[Steps], outer: Mapping[str, Part]) -> Layout:
        """Return the layout where the first folders are classes; each of them may be divided."""
        within = Counter((path[0], path[1]) for path in below if len(path) > 2)
        inner = find_split_names(name for _, name in within)
        divided = {label for label, name in within if name in inner}
        classes = {path[0] for path in below}
        if inner and all(len(path) > 2 and path[1] in inner for path in below) and len(classes) > 1:
            return cls(start=start, inner=inner)
        hints = []
        if inner:
            hints.append(
                f"{len(divided)} of {len(classes)} classes have folders named {', '.join(sorted(inner))}, the others "
                "have files elsewhere: all of them are read as examples to train on"
            )
        nested = {label for label, _ in within}
        if not outer and len(classes) > 1:
            for label in sorted(nested):
                if split_of_name(label) is not None and sum(name == label for name, _ in within) > 1:
                    others = ", ".join(sorted(classes - {label})[:5])
                    hints.append(
                        f"the folder {label!r} holds folders of its own, and is read as one class beside {others}: "
                        "give it alone if it holds the classes"
                    )
        return cls(start=start, hints=tuple(hints))

    @property
    def parts(self) -> Mapping[str, Part]:
        """Part by the name of a folder, wherever these folders are."""
        return self.outer or self.inner

    def label_of(self, path: Steps) -> str | None:
        """Return the class that a file belongs to; None for none."""
        below = self._below(path)
        return below[0] if below is not None and len(below) > 1 else None

    def part_of(self, path: Steps) -> Part | None:
        """Return the part that a file belongs to; None where there are no parts, or it is beside them."""
        if path[: len(self.start)] != self.start:
            return None
        path = path[len(self.start) :]
        if self.outer:
            return self.outer.get(path[0])
        return self.inner.get(path[1]) if len(path) > 2 else None

    def why_not(self, path: Steps) -> str:
        """Return why a file is not among the examples."""
        below = path[len(self.start) :]
        if path[: len(self.start)] != self.start:
            return f"beside the folder {'/'.join(self.start)}, which holds the classes"
        if self.outer and below[0] not in self.outer:
            return f"beside the folders {', '.join(sorted(self.outer))}, which hold the classes"
        return NO_LABEL if self.outer else "directly in the folder: it belongs to no class"

    def bases(self) -> list[Steps]:
        """Return the folders that hold the folders of classes."""
        return [(*self.start, name, *self.starts[name]) for name in self.outer] or [self.start]

    def _below(self, path: Steps) -> Steps | None:
        """Return the path below the folder that holds the classes; None for a file that is elsewhere."""
        for base in self.bases():
            if path[: len(base)] == base:
                return path[len(base) :]
        return None


def _start(paths: Sequence[Steps], known: Collection[str]) -> Steps:
    """Return the folders to pass through: each holds all folders with examples, and fewer of its own than they do."""
    start: Steps = ()
    while True:
        below = [path[len(start) :] for path in paths if path[: len(start)] == start]
        names = {path[0] for path in below if len(path) > 1}
        if len(names) != 1:
            return start
        (name,) = names
        if name in known:
            return start
        inside = [path[1:] for path in below if path[:1] == (name,) and len(path) > 1]
        deep = [path for path in inside if len(path) > 1]
        if not deep or 2 * len(deep) <= len(inside) or (len({p[0] for p in deep}) < 2 and not _leads_on(deep)):
            return start
        start = (*start, name)


def _leads_on(deep: Sequence[Steps]) -> bool:
    """Whether a single folder leads to several further down."""
    while len({path[0] for path in deep}) == 1:
        deep = [path[1:] for path in deep if len(path) > 2]
        if not deep:
            return False
    return True
