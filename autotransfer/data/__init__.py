"""Data sources, target columns, groups, near-duplicates and splits."""
