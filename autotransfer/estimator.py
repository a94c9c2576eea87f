"""The search as scikit-learn estimators, for pipelines, cross-validation and everything else that takes one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted

from autotransfer import api
from autotransfer.errors import ConfigError, DataError
from autotransfer.run.folder import RunFolder
from autotransfer.tasks.task import Kind

__all__ = ["AutoTransferClassifier", "AutoTransferRegressor"]

Patterns = str | Sequence[str]
Folders = str | Path | Sequence[str | Path]


class _AutoTransfer(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share."""

    def __init__(
        self,
        *,
        time_budget: str | float | None = None,
        trials: int | None = None,
        backbones: Patterns = (),
        exclude: Patterns = (),
        zoo: Folders | None = None,
        heads: Patterns = (),
        freeze: Patterns = (),
        metric: str | Callable[..., Any] | None = None,
        value_range: tuple[float, float] | None = None,
        root: str | Path | None = None,
        suffix: str | None = None,
        follow_links: bool = False,
        min_images: int | None = None,
        validation: float = 0.25,
        epochs: int = 12,
        views: int = 4,
        compare_scratch: bool = False,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        ensemble: bool = True,
        soup: bool = True,
        calibrate: bool = True,
        workers: int | None = None,
        cache: bool = True,
        cache_dir: str | Path | None = None,
        callbacks: Sequence[object] = (),
        progress: bool = False,
        out: str | Path | None = None,
    ) -> None:
        self.time_budget = time_budget
        self.trials = trials
        self.backbones = backbones
        self.exclude = exclude
        self.zoo = zoo
        self.heads = heads
        self.freeze = freeze
        self.metric = metric
        self.value_range = value_range
        self.root = root
        self.suffix = suffix
        self.follow_links = follow_links
        self.min_images = min_images
        self.validation = validation
        self.epochs = epochs
        self.views = views
        self.compare_scratch = compare_scratch
        self.random_state = random_state
        self.device = device
        self.ensemble = ensemble
        self.soup = soup
        self.calibrate = calibrate
        self.workers = workers
        self.cache = cache
        self.cache_dir = cache_dir
        self.callbacks = callbacks
        self.progress = progress
        self.out = out

    def predict(self, X: Any) -> np.ndarray:
        """Predict for images: arrays, paths, folders or PIL images.

        Returns:
            Labels or values (N,); rows (N, outputs) for multilabel indicators and several regression targets.

        Raises:
            NotFittedError: ``fit`` was not called.
            DataError: An image cannot be read.
        """
        check_is_fitted(self)
        return self.model_.predict(X)

    def _search(self, images: Any, targets: Any, task: Kind | None, groups: Any, **more: Any) -> None:
        """Search and set ``result_`` and ``model_``; without ``out`` the run folder goes away."""
        _refuse_mismatch(images, targets)
        settings = self.get_params(deep=False) | more
        state, out = settings.pop("random_state"), settings.pop("out")
        fixed = isinstance(state, Integral)
        settings["seed"] = int(state) if fixed else int(check_random_state(state).randint(2**31 - 1))
        with tempfile.TemporaryDirectory(prefix="autotransfer-") as temporary, _claimed(out or temporary) as folder:
            self.result_ = api.fit(images, targets, groups=groups, task=task, out=folder, overwrite=True, **settings)
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
        DataError: There is not one target for each image.
    """
    if isinstance(X, (str, PathLike)) or hasattr(X, "columns"):
        if y is not None:
            raise DataError("X is a folder or a table, which holds its labels: leave y out, or give a list of paths.")
        return
    if isinstance(X, (Mapping, Set)) or not hasattr(X, "__getitem__") or issparse(X):
        kind = f"{type(X).__module__}.{type(X).__name__}".removeprefix("builtins.")
        raise DataError(f"X holds images: an array or a list, a folder, a table or a Dataset; got {kind}.")
    if y is None:
        if isinstance(X, (Sequence, np.ndarray)):
            raise DataError(
                f"X holds {len(X)} images and no labels: give y, one label for each; or give a folder with a "
                "sub-folder for each class, a table, or a Dataset of (image, label)."
            )
    elif isinstance(y, (str, Mapping, Set)) or not hasattr(y, "__len__"):
        raise DataError(f"y holds one target for each image in X; got {type(y).__name__}.")
    elif len(X) != len(y):
        raise DataError(f"X holds {len(X)} images, but y holds {len(y)} targets: give one for each.")


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


class AutoTransferClassifier(ClassifierMixin, _AutoTransfer):  # type: ignore[misc]
    """``autotransfer.fit`` as a scikit-learn classifier; the arguments are those of ``fit``.

    Example:
        >>> from autotransfer import AutoTransferClassifier
        >>> AutoTransferClassifier(time_budget="2m", heads="linear").get_params()["heads"]
        'linear'

    Args:
        time_budget: Wall time of a fit, as ``"5m"`` or seconds; 5 minutes when ``trials`` is not given.
        trials: Number of trials.
        backbones: Names or glob patterns of backbones.
        exclude: Names or glob patterns of backbones to leave out.
        zoo: Folders of checkpoints.
        heads: Names or glob patterns of heads.
        freeze: Names or glob patterns of freeze policies.
        metric: A scikit-learn scorer, by name or as an object, for the search; ``score`` is the accuracy whatever it
            is.
        positive_class: Which of two classes the metric takes for the positive one. None takes the one that is sorted
            last in ``y``, as scikit-learn has it, so that the search and ``GridSearchCV`` mean the same by recall;
            ``autotransfer.fit`` takes the rarer one, and so does this where ``X`` holds the labels.
        label_separator: What stands between the labels of one text, where ``X`` is a table; see ``fit``.
        value_range: The values of images that are black and white, such as ``(0, 4095)``; None decides by the images.
        root: Folder that the relative paths of a table or list are looked for in first.
        suffix: What these paths lack at the end, such as ``".png"``.
        follow_links: Follow links that lead out of a folder, and links to folders.
        min_images: Leave out classes with fewer images to train on.
        class_weight: ``"balanced"`` weights the loss by inverse class frequency; a dictionary gives the weight of each
            class, 1 for those that it leaves out.
        validation: Share of the examples that candidates are scored on, from 3,000 examples on; fewer are divided
            into folds, and it has no effect.
        epochs: Epochs of a candidate that trains stages.
        views: Most fixed views of an image that the model averages where validation says that it pays.
        compare_scratch: As for ``fit``, but off: within a pipeline, few read what it finds.
        random_state: Seed of sampler, split and training.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        ensemble: Ensemble the best candidates where validation says that it pays; the model then runs all of them.
        soup: Average the weights of fine-tuned candidates of one backbone where validation says that it pays.
        calibrate: Scale probabilities by a temperature where validation says that it makes them more honest.
        workers: Number of processes that evaluate candidates; None means this process.
        cache: Keep activations on disk between fits.
        cache_dir: Folder of that cache.
        callbacks: Objects that observe each search; see ``fit``. ``clone`` copies them, as it does all parameters.
        progress: Show progress on standard error.
        out: The run folder; None keeps none. Where it holds a run, a further fit takes ``out-2``, ``out-3``, … beside
            it, so that cross-validation keeps every fit; ``result_.run`` says which.

    Attributes:
        classes_: Labels, in the order of the columns of ``predict_proba``.
        result_: The ``FitResult``; its run folder is there only if ``out`` was given.
        model_: The trained ``TransferModel``.
    """

    def __init__(
        self,
        *,
        time_budget: str | float | None = None,
        trials: int | None = None,
        backbones: Patterns = (),
        exclude: Patterns = (),
        zoo: Folders | None = None,
        heads: Patterns = (),
        freeze: Patterns = (),
        metric: str | Callable[..., Any] | None = None,
        positive_class: Any = None,
        label_separator: str | None = None,
        value_range: tuple[float, float] | None = None,
        root: str | Path | None = None,
        suffix: str | None = None,
        follow_links: bool = False,
        min_images: int | None = None,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        validation: float = 0.25,
        epochs: int = 12,
        views: int = 4,
        compare_scratch: bool = False,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        ensemble: bool = True,
        soup: bool = True,
        calibrate: bool = True,
        workers: int | None = None,
        cache: bool = True,
        cache_dir: str | Path | None = None,
        callbacks: Sequence[object] = (),
        progress: bool = False,
        out: str | Path | None = None,
    ) -> None:
        super().__init__(
            time_budget=time_budget,
            trials=trials,
            backbones=backbones,
            exclude=exclude,
            zoo=zoo,
            heads=heads,
            freeze=freeze,
            metric=metric,
            value_range=value_range,
            root=root,
            suffix=suffix,
            follow_links=follow_links,
            min_images=min_images,
            validation=validation,
            epochs=epochs,
            views=views,
            compare_scratch=compare_scratch,
            random_state=random_state,
            device=device,
            ensemble=ensemble,
            soup=soup,
            calibrate=calibrate,
            workers=workers,
            cache=cache,
            cache_dir=cache_dir,
            callbacks=callbacks,
            progress=progress,
            out=out,
        )
        self.class_weight = class_weight
        self.positive_class = positive_class
        self.label_separator = label_separator

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> AutoTransferClassifier:
        """Search on images and their labels.

        Args:
            X: Arrays, paths or PIL images; or a folder or a table, which holds its labels.
            y: Labels (N,), or multilabel indicators (N, classes); None when ``X`` holds them.
            groups: What no split may tear apart; see ``fit``.

        Raises:
            ConfigError: A setting is wrong.
            DataError: The data cannot be used.
            SearchError: No trial succeeded.
        """
        task: Kind | None = None
        if y is not None:
            check_classification_targets(y)
            several = type_of_target(y) == "multilabel-indicator"
            task, y = ("multilabel", y) if several else ("multiclass", column_or_1d(y, warn=True))
        self._search(X, y, task, groups, **self._positive(y, task))
        self.classes_ = np.array(self.model_.task.classes)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels (N,), or indicators (N, classes) for multilabel; see ``TransferModel.predict``."""
        if self._is_multilabel():
            return np.asarray(self.predict_proba(X) > 0.5, dtype=np.int64)
        return super().predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities (N, classes) as float32.

        Raises:
            NotFittedError: ``fit`` was not called.
            DataError: An image cannot be read.
        """
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def _positive(self, y: Any, task: Kind | None) -> dict[str, Any]:
        """Return the positive class, where there is one: of two classes in ``y``, the one that is sorted last."""
        if self.positive_class is not None or task != "multiclass":
            return {}
        classes = np.unique(y)
        return {"positive_class": classes[-1]} if len(classes) == 2 else {}

    def _is_multilabel(self) -> bool:
        check_is_fitted(self)
        return bool(self.model_.task.kind == "multilabel")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class AutoTransferRegressor(RegressorMixin, _AutoTransfer):  # type: ignore[misc]
    """``autotransfer.fit`` as a scikit-learn regressor.

    The arguments and attributes are those of ``AutoTransferClassifier``, without ``class_weight``, ``positive_class``,
    ``label_separator`` and ``classes_``.
    """

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> AutoTransferRegressor:
        """Search on images and their values.

        Args:
            X: Arrays, paths or PIL images; or a folder or a table, which holds its values.
            y: Values (N,) or (N, targets); None when ``X`` holds them.
            groups: What no split may tear apart; see ``fit``.

        Raises:
            ConfigError: A setting is wrong.
            DataError: The data cannot be used.
            SearchError: No trial succeeded.
        """
        self._search(X, y, "regression", groups)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
