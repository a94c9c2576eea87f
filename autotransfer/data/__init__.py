"""From anything a user has to examples with targets: sources, splits, groups."""
