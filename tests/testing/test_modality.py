"""The conformance check of modalities: good ones pass, and each fault of another is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autotransfer.contract.modality import Modality, Skipped, Store
from autotransfer.errors import DataError, ModelFormatError, PluginError
from autotransfer.testing import check_modality
from autotransfer.testing.exports import check_export_inputs
from autotransfer_plugins.modalities.image.formats import Preprocessing
from autotransfer_plugins.modalities.image.modality import IMAGE


@dataclass(frozen=True)
class RowFormat:
    """Rows of three numbers."""

    def probe(self, count: int, seed: int = 0) -> torch.Tensor:
        """Return random rows."""
        return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"numbers": 3}


@dataclass(frozen=True, kw_only=True)
class RowStore(Store):
    """Rows, divided by the largest number of those that were read first."""

    largest: float

    @property
    def reading(self) -> dict[str, Any]:
        """How they were read."""
        return {"largest": self.largest}

    def inputs(self, rows: Any, how: Any, device: torch.device, view: str | None = None) -> torch.Tensor:
        """Return them, in the second view from the end to the beginning."""
        given = torch.from_numpy(self.arrays["rows"][rows] / self.largest).float()
        return given.flip(1) if view == "backwards" else given


class Rows(Modality):
    """Rows of three numbers, as arrays and as text files."""

    name = "rows"
    suffixes = frozenset({".row"})
    views: Any = ("plain", "backwards")

    def item(self, value: Any) -> Any:
        """Return an array."""
        return value if isinstance(value, np.ndarray) else None

    def load(self, items: Any, names: Any, formats: Any, **how: Any) -> RowStore:
        """Read all."""
        found: dict[int, np.ndarray] = {}
        skipped = []
        for i, item in enumerate(items):
            row = np.array(item.read_text().split(), float) if isinstance(item, Path) else item
            if len(row) == 3:
                found[i] = row
            elif how.get("strict"):
                raise DataError(f"{names[i]} has no three numbers")
            else:
                skipped.append(Skipped(name=names[i], reason="it has no three numbers"))
        if not found:
            raise DataError("There is no row.")
        rows = np.stack(list(found.values()))
        largest = how["reading"]["largest"] if how.get("reading") else float(np.abs(rows).max())
        return RowStore(
            modality=self,
            arrays={"rows": rows},
            digests=tuple(str(row.tolist()) for row in rows),
            kept=np.array(list(found)),
            skipped=tuple(skipped),
            decoded=len(found),
            largest=largest,
        )

    def read_format(self, about: Any, files: Mapping[str, bytes] | None = None) -> RowFormat:
        """Return the only format."""
        if about != {"numbers": 3}:
            raise ModelFormatError("A row has three numbers.")
        return RowFormat()


@pytest.fixture
def rows(tmp_path: Path) -> list[Any]:
    """A file and four arrays."""
    (tmp_path / "a.row").write_text("1 2 3")
    return [tmp_path / "a.row", *np.random.default_rng(0).normal(size=(4, 3))]


def test_good_modality_passes(rows: list[Any]) -> None:
    check_modality(Rows(), rows, [RowFormat()])


def test_image_modality_passes(tmp_path: Path) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (4, 40, 50, 3), dtype=np.uint8))
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    squashed = Preprocessing(size=(24, 24), crop_mode="squash")
    check_modality(IMAGE, [tmp_path / "a.png", *images[1:]], [Preprocessing(size=(32, 32)), squashed])


class Greedy(Rows):
    """Takes anything for an example."""

    def item(self, value: Any) -> Any:
        return value


class Trusting(Rows):
    """Reads any format."""

    def read_format(self, about: Any, files: Mapping[str, bytes] | None = None) -> RowFormat:
        return RowFormat()


class Unchecked(Rows):
    """Breaks on a damaged model."""

    def read_reading(self, reading: Any) -> Any:
        return {"largest": reading["largest"]}


class Undecoded(Rows):
    """Decodes to what it does not take."""

    def decoded(self, item: Any) -> Any:
        return "an example"


class OneView(Rows):
    """Names one view twice."""

    views = ("plain", "plain")


def changed(change: Callable[[RowStore, dict[str, Any]], Any]) -> Rows:
    """Return rows whose store is changed after loading."""

    class Changed(Rows):
        def load(self, items: Any, names: Any, formats: Any, **how: Any) -> Any:
            return change(super().load(items, names, formats, **how), how)

        def __reduce__(self) -> Any:
            return Rows, ()

    return Changed()


class Forgetful(RowStore):
    """Draws noise without the generator."""

    def augmented(self, rows: Any, how: Any, device: Any, strength: str, rng: Any) -> Any:
        return self.inputs(rows, how, device) + torch.rand(1)


class Long(RowStore):
    """Gives more numbers than the probe has."""

    def inputs(self, rows: Any, how: Any, device: Any, view: str | None = None) -> Any:
        return super().inputs(rows, how, device, view).repeat(1, 2)


class Unordered(RowStore):
    """Sorts the rows that it is asked for."""

    def inputs(self, rows: Any, how: Any, device: Any, view: str | None = None) -> Any:
        return super().inputs(rows if isinstance(rows, slice) else np.sort(rows), how, device, view)


def as_kind(kind: type[RowStore]) -> Rows:
    """Return rows in another kind of store."""
    return changed(lambda store, how: kind(**vars(store)))


@pytest.mark.parametrize(
    ("modality", "rule"),
    [
        (Greedy(), "item\\(\\) returns None for what is no example"),
        (Trusting(), "read_format\\(\\) refuses None"),
        (Unchecked(), "read_reading\\(\\) refuses"),
        (Undecoded(), "takes what decoded\\(\\) returns; it took 0 of"),
        (OneView(), "views are a tuple of different names"),
        (changed(lambda store, how: None), "load\\(\\) returns a Store; got NoneType"),
        (changed(lambda store, how: replace(store, digests=("x",) * len(store))), "different digests"),
        (changed(lambda store, how: replace(store, digests=tuple(map(str, range(len(store)))))), "equal examples"),
        (changed(lambda store, how: replace(store, largest=store.largest + 1)), "reads in just that way"),
        (changed(lambda store, how: replace(store, decoded=1)), "reads all of"),
        (changed(lambda store, how: replace(store, skipped=())), "skipped names it"),
        (as_kind(Forgetful), "draws from its generator alone"),
        (as_kind(Long), "are like the probe"),
        (as_kind(Unordered), "inputs follow the rows in order"),
    ],
)
def test_faulty_modality_is_told_its_rule(modality: Modality, rule: str, rows: list[Any]) -> None:
    with pytest.raises(PluginError, match=f"the modality 'rows': .*{rule}"):
        check_modality(modality, rows, [RowFormat()])


class WrongExport(type(IMAGE)):  # type: ignore[misc]
    """Says of exported models that they flip images."""

    def export_inputs(self, formats: Any, reading: Any) -> Any:
        exported = super().export_inputs(formats, reading)
        plain = exported.view
        exported.view = lambda how, view: plain(how, "flip" if view == "center" else view)
        return exported


def test_exports_that_make_other_inputs_are_told_their_rule() -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (4, 40, 50, 3), dtype=np.uint8))
    modality, how = WrongExport(), Preprocessing(size=(32, 32))
    store = modality.load(images, list("abcd"), [how], options={})
    check_export_inputs("the modality 'image'", IMAGE, images, [how], store)
    with pytest.raises(PluginError, match=r"export_inputs\(\) makes the inputs that a store gives \(view 'center'\)"):
        check_export_inputs("the modality 'image'", modality, images, [how], store)


def test_too_few_examples_are_refused(rows: list[Any]) -> None:
    with pytest.raises(PluginError, match="takes 4 examples or more"):
        check_modality(Rows(), rows[:2], [RowFormat()])
