"""What is predicted and how it is scored: targets, tasks, metrics, scores and their intervals."""
