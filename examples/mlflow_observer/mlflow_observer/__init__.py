"""An observer for autotransfer that keeps its records in MLflow."""
