"""A modality: one kind of example, from what a user has to what a backbone takes. The core knows no other thing of it.

Three parts meet here. A ``Modality`` recognises examples and reads them once into a ``Store``. The store makes the
inputs of a backbone of any of its rows. An ``InputFormat`` says how one backbone wants them; only the modality and the
plugin of the backbone look into it.

A whole modality stands in ``examples/third_party_modality``; ``autotransfer.testing.check_modality`` checks one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Union

from autotransfer.contract.preview import Occlusions, Preview
from autotransfer.contract.store import InputFormat, Inputs, Item, Skipped, Store
from autotransfer.errors import ConfigError, DataError, ModelFormatError
from autotransfer.warnings import add_warning_codes

if TYPE_CHECKING:
    import numpy as np

    from autotransfer.contract.demo_data import DemoData
    from autotransfer.contract.export_inputs import ExportInputs
    from autotransfer.contract.specs import BackboneSpec

__all__ = [
    "Forms",
    "InputFormat",
    "Inputs",
    "Item",
    "Modality",
    "ModalityOption",
    "Occlusions",
    "Preview",
    "Skipped",
    "Store",
]

Forms = tuple[Union["BackboneSpec", "Forms"], ...]
"""Forms of one backbone in the order in which they are tried: each follows the one before it, where that did no harm.

A tuple among them branches off: its first form follows the form before the tuple, and so does what comes after it.
"""


@dataclass(frozen=True, kw_only=True)
class ModalityOption:
    """An option of a modality, such as the rate of samples that are given as an array.

    The command line has it as ``--NAME``, Python as ``DataOptions(modality_options={"NAME": value})``.

    Attributes:
        help: What the option does, in a sentence.
        default: The value where none is given; ``Modality.load`` gets values that are given only.
        none: What holds where no value is given, in a few words.
        metavar: What stands for the value in the help text of the command line.
        parse: Returns the value for a text of the command line; None keeps the text.
        check: Returns the value that is kept for a value that is given, or raises ConfigError.
    """

    help: str
    default: Any = None
    none: str = ""
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    check: Callable[[Any], Any] | None = None


class Modality:
    """One kind of example. Plugins derive their own from it and register one object, which holds no state.

    Attributes:
        name: Unique name, such as ``"image"``; ``BackboneSpec.modality`` says it, too.
        noun: What messages call one example.
        suffixes: Suffixes of its files, in lower case and with the dot.
        accepted: What ``item`` and ``batch`` take, in words, such as "an array of images, or a list of paths".
        claims_arrays: Whether arrays and tensors are taken for its examples although other modalities are installed;
            where not, the user has to name the modality.
        views: Names of the fixed views of an example, the plain one first; predictions may be averaged over them.
        augmentations: Strengths of random changes in training, ``"none"`` first, then the mildest.
        options: By name, what ``load`` takes in its ``options``, and no other modality has to know.
        forms: The forms that ``variant`` knows, in words; empty for none.
        hub_task: What the Hugging Face hub calls the classification of its examples; empty where the hub has no word.
        remark_code: Code of the warning on test examples that ``Store.remarks`` are on.
        warnings: Codes of its own warnings with their meanings; ``FitWarning`` takes those that a class sets.
    """

    name: str
    noun: str = "example"
    suffixes: frozenset[str] = frozenset()
    accepted: str = "a list of paths"
    claims_arrays: bool = True
    views: tuple[str, ...] = ("plain",)
    augmentations: tuple[str, ...] = ("none",)
    options: Mapping[str, ModalityOption] = MappingProxyType({})
    forms: str = ""
    hub_task: str = ""
    remark_code: str = "unlike_training"
    warnings: Mapping[str, str] = MappingProxyType({})

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        add_warning_codes(cls.warnings)

    def holds(self, file: Path) -> bool:
        """Whether a file without a known suffix is an example, by what is in it."""
        return False

    def item(self, value: Any) -> Item | None:
        """Return what stands for one example in memory, or None when it is none of this modality.

        Raises:
            DataError: It is one, and cannot be used.
        """
        return None

    def reads(self, values: Sequence[str]) -> bool:
        """Whether texts, a sample of a list or column, are examples themselves and no paths of files.

        Args:
            values: At least one text, and none that is empty. The core has looked for files of these names already:
                texts most of which name files that are there are paths.
        """
        return False

    def join(self, values: Sequence[Any]) -> Item:
        """Return one example made of the values that several columns of a table hold; None stands for an empty cell.

        Raises:
            DataError: Examples of the modality cannot be joined.
        """
        raise DataError(f"Several columns do not make one {self.noun}: name one input column.")

    def batch(self, value: Any, reading: Mapping[str, Any] | None = None) -> list[Item] | None:
        """Return the examples that one array or tensor holds, or None when they are none of this modality.

        Args:
            value: The array or tensor.
            reading: For examples to predict on, how those to train on were read, empty for unknown: then the array may
                hold one example instead of many. None for examples to train on.

        Raises:
            DataError: They are, and cannot be used.
        """
        return None

    def load(
        self,
        items: Sequence[Item],
        names: Sequence[str],
        formats: Sequence[Any],
        *,
        options: Mapping[str, Any],
        reading: Mapping[str, Any] | None = None,
        exact: bool = True,
        strict: bool = False,
        memory_limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Store:
        """Read every example once.

        Args:
            items: The examples; any sequence, so that a data set may load lazily.
            names: What messages call each.
            formats: What the backbones want that are to see them.
            options: Values of ``options`` that the user has set.
            reading: How others were read; None decides it over these examples.
            exact: Whether a model is to see what its training saw: ``reading`` says all. Otherwise it says what values
                mean, and the formats say the rest.
            strict: Raise on the first example that cannot be read, instead of leaving it out.
            memory_limit: Bytes above which what is read is kept in temporary files; None keeps it in memory.
            progress: Is called with the number of examples done and the number of all.

        Raises:
            DataError: No example can be read, or one cannot and ``strict`` is set.
        """
        raise NotImplementedError

    def read_options(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the options that a user has set, each as its ``check`` keeps it.

        Raises:
            ConfigError: The modality has no such option, or not with such a value.
        """
        found = dict(given or {})
        if unknown := sorted(set(found) - set(self.options)):
            known = f"the options are {sorted(self.options)}" if self.options else "there are no options"
            raise ConfigError(f"The option {unknown[0]!r} says nothing of {self.noun}s: leave it out; {known}.")
        checks = {name: self.options[name].check for name in found}
        return {name: value if (check := checks[name]) is None else check(value) for name, value in found.items()}

    def decoded(self, item: Item) -> Item:
        """Return what a file holds, as an example in memory that ``load`` takes; other examples as they are.

        The latency of a model is measured on such examples: how fast a disk is does not count. What cannot be read
        stays as it is.
        """
        return item

    def check(self, items: Sequence[Item], names: Sequence[str], reading: Mapping[str, Any]) -> None:
        """Read every example at the least cost, and keep none.

        Raises:
            DataError: One cannot be read.
        """
        self.load(items, names, (), options={}, reading=reading, strict=True)

    def read_reading(self, reading: Any) -> Mapping[str, Any]:
        """Return the ``Store.reading`` of a saved model, which may come from a stranger.

        Raises:
            ModelFormatError: It is damaged.
        """
        if not isinstance(reading, dict):
            raise ModelFormatError(f"How a model reads its examples is an object; got a {type(reading).__name__}.")
        return reading

    def read_format(self, about: Any, files: Mapping[str, bytes] | None = None) -> InputFormat:
        """Return the input format of a saved model from its ``to_json``, which may come from a stranger.

        Args:
            about: What ``to_json`` returned.
            files: What ``format_files`` returned, for all formats of the model.

        Raises:
            ModelFormatError: It is damaged, or a file is.
        """
        raise NotImplementedError

    def format_files(self, how: Any) -> Mapping[str, bytes]:
        """Return what an input format needs beside its JSON, such as a vocabulary, as files of a saved model.

        Equal names stand for equal contents: a name holds a hash of the content.

        Args:
            how: The ``InputFormat``.
        """
        return {}

    def export_inputs(self, formats: Sequence[Any], reading: Mapping[str, Any]) -> ExportInputs | None:
        """Return what an exported model is given, and how it becomes inputs; None where models cannot be exported.

        Args:
            formats: The ``InputFormat`` of each backbone of the model.
            reading: How the model reads its examples.

        Raises:
            ExportError: A backbone of the model cannot be exported; the message says what to do.
        """
        return None

    def adopt(self, specs: Sequence[BackboneSpec]) -> Sequence[BackboneSpec]:
        """Return the backbones of other modalities that can take examples of this one, in a form for them.

        The registry lists them under this modality. Each has a name of its own, ``NAME@FORM`` for the backbone NAME.

        Args:
            specs: Backbones of other modalities.
        """
        return ()

    def fitted(
        self, specs: Sequence[BackboneSpec], items: Sequence[Item], options: Mapping[str, Any]
    ) -> list[BackboneSpec]:
        """Return each backbone in the form that suits the examples, which takes the place of its own form.

        Args:
            specs: The backbones.
            items: The examples.
            options: Values of ``options`` that the user has set.
        """
        return list(specs)

    def typical_gmacs(
        self, specs: Sequence[BackboneSpec], items: Sequence[Item], options: Mapping[str, Any]
    ) -> list[float | None]:
        """Return the multiply-accumulates, in 10^9, of each backbone on a typical example; None for unknown.

        By it, a search chooses which backbones it has time for, before any is loaded.

        Args:
            specs: The backbones.
            items: The examples.
            options: Values of ``options`` that the user has set.
        """
        return [spec.gmacs for spec in specs]

    def variants(self, specs: Sequence[BackboneSpec], items: Sequence[Item]) -> Sequence[Forms]:
        """Return the forms of each backbone to try, such as a cheaper resolution.

        Args:
            specs: The backbones, as ``fitted`` returned them.
            items: The examples.

        Returns:
            The backbone itself among its forms, with the one in front that is to be tried first.
        """
        return [(spec,) for spec in specs]

    def check_variants(self, spec: BackboneSpec, how: Any) -> Sequence[BackboneSpec]:
        """Return other forms of a backbone on which its plugin's ``load_at`` is checked.

        Args:
            spec: The backbone.
            how: Its ``InputFormat``.
        """
        return ()

    def variant(self, spec: BackboneSpec, form: str) -> BackboneSpec | None:
        """Return the form of a backbone that its name says behind an ``@``, or None when this names none.

        Raises:
            ConfigError: The backbone has no such form.
        """
        return None

    def preview(self, item: Item, reading: Mapping[str, Any]) -> Preview | None:
        """Return what a page shows of one example: a thumbnail, the words, a short clip; None for nothing.

        Args:
            item: The example.
            reading: How the examples were read, as ``Store.reading``: what is shown is what networks see.

        Raises:
            DataError: It cannot be read.
        """
        return None

    def overlay(self, item: Item, reading: Mapping[str, Any], how: Any, heat: np.ndarray) -> Preview | None:
        """Return the preview of one example with a heatmap over it; None where a heatmap cannot be laid over examples.

        Args:
            item: The example.
            reading: How the examples were read.
            how: The ``InputFormat`` of the backbone that the heatmap is of: it says which part of the example it sees.
            heat: From 0 to 1 (h, w), over the backbone's input in its plain view.

        Raises:
            DataError: The example cannot be read.
        """
        return None

    def occlusions(self, item: Item, reading: Mapping[str, Any]) -> Occlusions | None:
        """Return one example without each of its parts, such as its words; None where it has none.

        What the model says without a part shows how much the part matters. A few dozen parts are enough.

        Args:
            item: The example.
            reading: How the examples were read.

        Raises:
            DataError: The example cannot be read.
        """
        return None

    def demo_data(self) -> DemoData | None:
        """Return labelled examples to show a search on, made on the spot or part of a dependency; None for none."""
        return None
