"""Analysis of a search: transfer gain, selection bias, importance of parameters, sources."""
