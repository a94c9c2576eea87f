"""Tasks, targets, metrics, and scores with their intervals."""
