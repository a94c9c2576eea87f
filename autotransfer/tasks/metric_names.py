"""Common names of metrics, and the names of the scorers of scikit-learn that they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotransfer.errors import UnknownNameError

__all__ = ["ALIASES", "MAKE_SCORER", "unknown_metric"]

_HINT = "Any scikit-learn scorer will do: its name, or from Python a scorer such as make_scorer gives."
# Common names of metrics, and the names of scikit-learn's scorers.
ALIASES: Mapping[str, str] = {
    "mae": "neg_mean_absolute_error",
    "mse": "neg_mean_squared_error",
    "rmse": "neg_root_mean_squared_error",
    "msle": "neg_mean_squared_log_error",
    "rmsle": "neg_root_mean_squared_log_error",
    "mape": "neg_mean_absolute_percentage_error",
    "medae": "neg_median_absolute_error",
    "r_squared": "r2",
    "r^2": "r2",
    "mcc": "matthews_corrcoef",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "roc": "roc_auc",
    "ap": "average_precision",
    "map": "average_precision",
    "auprc": "average_precision",
    "pr_auc": "average_precision",
    "acc": "accuracy",
    "bacc": "balanced_accuracy",
    "balanced_acc": "balanced_accuracy",
    "logloss": "neg_log_loss",
    "cross_entropy": "neg_log_loss",
    "nll": "neg_log_loss",
    "brier": "neg_brier_score",
    "iou": "jaccard",
    "dice": "f1",
    "sensitivity": "recall",
    "tpr": "recall",
    "ppv": "precision",
    "top5": "top_k_accuracy",
    "topk": "top_k_accuracy",
}
# Metrics without a named scorer, and the expression that makes one.
MAKE_SCORER: Mapping[str, str] = {
    "kappa": "make_scorer(cohen_kappa_score)",
    "cohen_kappa": "make_scorer(cohen_kappa_score)",
    "qwk": 'make_scorer(cohen_kappa_score, weights="quadratic")',
    "quadratic_kappa": 'make_scorer(cohen_kappa_score, weights="quadratic")',
    "quadratic_weighted_kappa": 'make_scorer(cohen_kappa_score, weights="quadratic")',
    "f2": "make_scorer(fbeta_score, beta=2)",
    "fbeta": "make_scorer(fbeta_score, beta=2)",
    "specificity": "make_scorer(recall_score, pos_label=THE_NEGATIVE_CLASS)",
    "hamming_loss": "make_scorer(hamming_loss, greater_is_better=False)",
}


def unknown_metric(name: str, known: Sequence[str]) -> UnknownNameError:
    """Return the error for a name that no scorer has; it suggests the scorer that the name commonly means.

    Args:
        name: The unknown name.
        known: Names of scikit-learn's scorers.
    """
    normalized = name.strip().lower().replace("-", "_").replace(" ", "_")
    if normalized in MAKE_SCORER:
        hint = f"From Python, metric={MAKE_SCORER[normalized]} says it (see sklearn.metrics)."
        return UnknownNameError("metric", name, known, hint, meant=())
    guesses = (
        normalized,
        ALIASES.get(normalized, ""),
        f"neg_{normalized}",
        normalized.removesuffix("_score"),
        f"neg_{normalized}_score",
    )
    meant = [guess for guess in guesses if guess in known][:1]
    return UnknownNameError("metric", name, known, _HINT, meant=meant or None)
