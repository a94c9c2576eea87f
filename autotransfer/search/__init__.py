"""The search: strategy, search space, study, budget."""
