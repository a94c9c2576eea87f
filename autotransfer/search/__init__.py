"""The search: loop, space, screening, evaluation, budget."""
