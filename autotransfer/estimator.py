"""The search as scikit-learn estimators, for pipelines, cross-validation and everything else that takes one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted

from autotransfer import api
from autotransfer.errors import ConfigError, DataError
from autotransfer.run.folder import RunFolder
from autotransfer.settings import Compute, DataOptions, Folders, Patterns, RunOptions, SearchOptions, Selection
from autotransfer.settings.fields import SettingsGroup, refuse_unused

__all__ = ["AutoTransferClassifier", "AutoTransferRegressor"]

# Within a pipeline, few read what training from random weights finds, and what progress is shown.
_SEARCH, _RUN = SearchOptions(compare_scratch=False), RunOptions(progress=False)


class _AutoTransfer(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share."""

    def __init__(
        self,
        *,
        time_budget: str | float | None = None,
        trials: int | None = None,
        backbones: Patterns = (),
        heads: Patterns = (),
        zoo: Folders | None = None,
        metric: str | Callable[..., Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        search: SearchOptions | None = None,
        selection: Selection | None = None,
        compute: Compute | None = None,
    ) -> None:
        self.time_budget = time_budget
        self.trials = trials
        self.backbones = backbones
        self.heads = heads
        self.zoo = zoo
        self.metric = metric
        self.random_state = random_state
        self.search = search
        self.selection = selection
        self.compute = compute

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; with ``deep``, each setting of a group, too, such as ``compute__workers``."""
        params: dict[str, Any] = super().get_params(deep=deep)
        if deep:
            for name, group in self._groups().items():
                if isinstance(group, SettingsGroup):  # a wrong value is refused by fit
                    params |= {f"{name}__{setting}": value for setting, value in vars(group).items()}
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters; those of a group, such as ``compute__workers``, replace the group."""
        inside = {name: value for name, value in params.items() if name.partition("__")[0] in _GROUPS and "__" in name}
        super().set_params(**{name: value for name, value in params.items() if name not in inside})
        known = self.get_params()
        for name, value in inside.items():
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {[*known]}.")
            group, _, setting = name.partition("__")
            setattr(self, group, replace(self._groups()[group], **{setting: value}))
        return self

    def _groups(self) -> dict[str, Any]:
        """Return the groups of settings, those by default for None."""
        return {name: usual if getattr(self, name) is None else getattr(self, name) for name, usual in _GROUPS.items()}

    def predict(self, X: Any, *, unknown: Any = None) -> np.ndarray:
        """Predict for examples: arrays, paths, folders, or whatever else the modality takes.

        Args:
            X: The examples.
            unknown: The label for examples that are unlike anything seen; see ``TransferModel.predict``.

        Returns:
            Labels or values (N,); rows (N, outputs) for multilabel indicators and several regression targets.

        Raises:
            NotFittedError: ``fit`` was not called.
            ConfigError: A label for unknown examples is given, and the model cannot tell which are.
            DataError: An example cannot be read.
        """
        check_is_fitted(self)
        return self.model_.predict(X, unknown=unknown)

    def _fit(
        self,
        examples: Any,
        targets: Any,
        *,
        groups: Any,
        sample_weight: Any,
        out: str | Path | None,
        data_options: DataOptions,
        run: RunOptions,
    ) -> None:
        """Search and set ``result_`` and ``model_``; without ``out`` the run folder goes away."""
        _refuse_mismatch(examples, targets)
        refuse_unused(run, ("storage", "study", "callbacks", "previews", "progress"))
        settings = self.get_params(deep=False) | self._groups()
        state = settings.pop("random_state")
        seed = int(state) if isinstance(state, Integral) else int(check_random_state(state).randint(2**31 - 1))
        if groups is not None:
            data_options = replace(data_options, groups=groups)
        if sample_weight is not None:
            data_options = replace(data_options, sample_weight=sample_weight)
        with tempfile.TemporaryDirectory(prefix="autotransfer-") as temporary, _claimed(out or temporary) as folder:
            self.result_ = api.fit(
                examples,
                targets,
                seed=seed,
                out=folder,
                data_options=data_options,
                run=replace(run, overwrite=True),
                **settings,
            )
        self.model_ = self.result_.model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False  # a folder or a table holds its targets
        tags.non_deterministic = self.trials is None  # as repeatable as the clock
        return tags


def _refuse_mismatch(X: Any, y: Any) -> None:
    """Refuse in terms of ``X`` and ``y`` what ``fit`` would refuse in terms of its own arguments.

    Raises:
        DataError: There is not one target for each example.
    """
    frame = hasattr(X, "columns") or hasattr(X, "column_names")
    if isinstance(X, (str, PathLike)) or (frame and y is None):
        if y is not None:
            raise DataError("X is a folder or a table, which holds its labels: leave y out, or give a list of paths.")
        return
    if isinstance(X, (Mapping, Set)) or not hasattr(X, "__getitem__") or issparse(X):
        kind = f"{type(X).__module__}.{type(X).__name__}".removeprefix("builtins.")
        raise DataError(f"X holds examples: an array or a list, a folder, a table or a Dataset; got {kind}.")
    if y is None:
        if isinstance(X, (Sequence, np.ndarray)):
            raise DataError(
                f"X holds {len(X)} examples and no labels: give y, one label for each; or give a folder with a "
                "sub-folder for each class, a table, or a Dataset of (example, label)."
            )
    elif isinstance(y, (str, Mapping, Set)) or not hasattr(y, "__len__"):
        raise DataError(f"y holds one target for each example in X; got {type(y).__name__}.")
    elif issparse(y):
        raise DataError(f"y holds values, and they are dense; got a sparse {type(y).__name__}: give y.toarray().")
    elif len(X) != len(y):
        raise DataError(f"X holds {len(X)} examples, but y holds {len(y)} targets: give one for each.")


@contextlib.contextmanager
def _claimed(out: str | Path) -> Iterator[Path]:
    """Give a run folder that no other fit has: ``out``, or, where that holds a run, ``out-2``, ``out-3``, ….

    So every fit of a cross-validation is kept, also of those that run side by side: whoever makes ``run.json`` has it.

    Raises:
        ConfigError: The folder cannot be used.
    """
    path, number = Path(out), 1
    while True:
        try:
            RunFolder.choose(path)
            made = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            (path / "run.json").touch(exist_ok=False)
            break
        except FileExistsError:
            number += 1
            path = Path(out).with_name(f"{Path(out).name}-{number}")
        except OSError as error:
            raise ConfigError(f"The output folder {path} cannot be written: {error}.") from error
    try:
        yield path
    finally:
        if not (path / "run.json").stat().st_size:  # the fit was refused before it began
            (path / "run.json").unlink()
            if made:
                path.rmdir()


_GROUPS: dict[str, SettingsGroup] = {"search": _SEARCH, "selection": Selection(), "compute": Compute()}


class AutoTransferClassifier(ClassifierMixin, _AutoTransfer):  # type: ignore[misc]
    """``autotransfer.fit`` as a scikit-learn classifier.

    The parameters are the arguments of ``autotransfer.fit`` that say how to search; the method ``fit`` takes those that
    say what the data are and where the run is kept. A setting of a group is a parameter, too, with the name of the
    group before it: ``GridSearchCV`` may vary ``selection__ensemble``.

    Example:
        >>> from autotransfer import AutoTransferClassifier, Compute
        >>> model = AutoTransferClassifier(time_budget="2m", heads="linear", compute=Compute(workers=2))
        >>> model.set_params(selection__ensemble=False).get_params()["compute__workers"]
        2

    Args:
        time_budget: Wall time of a fit, as ``"5m"`` or seconds; 5 minutes when ``trials`` is not given.
        trials: Number of trials.
        backbones: Names or glob patterns of backbones.
        heads: Names or glob patterns of heads.
        zoo: Folders of checkpoints.
        metric: A scikit-learn scorer, by name or as an object, for the search; ``score`` is the accuracy whatever it
            is.
        random_state: Seed of sampler, split and training.
        search: What is searched beside backbones and heads, and how candidates train; None is
            ``SearchOptions(compare_scratch=False)``.
        selection: What may become the model beside the best candidate; None is ``Selection()``.
        compute: Where candidates are evaluated; None is ``Compute()``.

    Attributes:
        classes_: Labels, in the order of the columns of ``predict_proba``.
        result_: The ``FitResult``; its run folder is there only if ``out`` was given.
        model_: The trained ``TransferModel``.
    """

    def fit(
        self,
        X: Any,
        y: Any = None,
        groups: Any = None,
        *,
        sample_weight: Any = None,
        out: str | Path | None = None,
        data_options: DataOptions = DataOptions(),
        run: RunOptions = _RUN,
    ) -> AutoTransferClassifier:
        """Search on examples and their labels.

        Args:
            X: Arrays, paths, or whatever else the modality takes; or a folder or a table, which holds its labels.
            y: Labels (N,), or multilabel indicators (N, classes), which may be a sparse matrix; None when ``X`` holds
                them.
            groups: What stays on one side of every split; see ``DataOptions``.
            sample_weight: Weight (N,) of each example, in training and in the scores of the search; see
                ``DataOptions``.
            out: The run folder; None keeps none. Where it holds a run, a further fit takes ``out-2``, ``out-3``, …
                beside it, so that cross-validation keeps every fit; ``result_.run`` says which.
            data_options: How the data are read. Without a positive class, it is the one of two labels that is sorted
                last in ``y``, as scikit-learn has it, so that the search and ``GridSearchCV`` mean the same by recall;
                where ``X`` holds the labels, it is the rarer one.
            run: Storage of the study, callbacks, and whether progress is shown.

        Raises:
            ConfigError: A setting is wrong.
            DataError: The data cannot be used.
            SearchError: No trial succeeded.
        """
        if y is not None:
            y = y.toarray() if issparse(y) else y  # scikit-learn's multilabel estimators take sparse indicators
            check_classification_targets(y)
            several = type_of_target(y) == "multilabel-indicator"
            y = y if several else column_or_1d(y, warn=True)
            data_options = _positive(y, replace(data_options, task="multilabel" if several else "multiclass"))
        self._fit(X, y, groups=groups, sample_weight=sample_weight, out=out, data_options=data_options, run=run)
        self.classes_ = np.array(self.model_.task.classes)
        return self

    def predict(self, X: Any, *, unknown: Any = None) -> np.ndarray:
        """Predict labels (N,), or indicators (N, classes) for multilabel; see ``TransferModel.predict``.

        Raises:
            NotFittedError: ``fit`` was not called.
            ConfigError: A label for unknown examples is given, and the model cannot tell which are, or the predictions
                are indicators, which hold no label.
            DataError: An example cannot be read.
        """
        if self._is_multilabel():
            if unknown is not None:
                raise ConfigError("Indicators hold no label for unknown examples: call model_.predict with unknown.")
            return np.asarray(self.model_.task.decide(self.predict_proba(X)), dtype=np.int64)
        return super().predict(X, unknown=unknown)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities (N, classes) as float32.

        Raises:
            NotFittedError: ``fit`` was not called.
            DataError: An example cannot be read.
        """
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def predict_set(self, X: Any, coverage: float = 0.9, *, allow_empty: bool = True) -> np.ndarray:
        """Return which labels are in the set (N, classes) that holds the truth at a rate; truth values.

        See ``TransferModel.predict_set``.

        Raises:
            NotFittedError: ``fit`` was not called.
            ConfigError: The coverage is no number between 0 and 1.
            DataError: An example cannot be read.
        """
        check_is_fitted(self)
        sets = self.model_.predict_set(X, coverage, allow_empty=allow_empty)
        return np.array([[label in found for label in self.model_.task.classes] for found in sets])

    def _is_multilabel(self) -> bool:
        check_is_fitted(self)
        return bool(self.model_.task.kind == "multilabel")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _positive(y: Any, options: DataOptions) -> DataOptions:
    """Return the options with a positive class, where there is one: of two classes, the one that is sorted last."""
    if options.positive_class is not None or options.task != "multiclass":
        return options
    classes = np.unique(y)
    return replace(options, positive_class=classes[-1]) if len(classes) == 2 else options


class AutoTransferRegressor(RegressorMixin, _AutoTransfer):  # type: ignore[misc]
    """``autotransfer.fit`` as a scikit-learn regressor.

    The parameters and attributes are those of ``AutoTransferClassifier``, without ``classes_``.
    """

    def fit(
        self,
        X: Any,
        y: Any = None,
        groups: Any = None,
        *,
        sample_weight: Any = None,
        out: str | Path | None = None,
        data_options: DataOptions = DataOptions(),
        run: RunOptions = _RUN,
    ) -> AutoTransferRegressor:
        """Search on examples and their values.

        Args:
            X: Arrays, paths, or whatever else the modality takes; or a folder or a table, which holds its values.
            y: Values (N,) or (N, targets); None when ``X`` holds them.
            groups: What stays on one side of every split; see ``DataOptions``.
            sample_weight: Weight (N,) of each example, in training and in the scores of the search; see
                ``DataOptions``.
            out: The run folder, as for ``AutoTransferClassifier``.
            data_options: How the data are read.
            run: Storage of the study, callbacks, and whether progress is shown.

        Raises:
            ConfigError: A setting is wrong.
            DataError: The data cannot be used.
            SearchError: No trial succeeded.
        """
        options = replace(data_options, task="regression")
        self._fit(X, y, groups=groups, sample_weight=sample_weight, out=out, data_options=options, run=run)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
