"""Transfer: freezing, the boundary, the cache at the boundary, training."""
