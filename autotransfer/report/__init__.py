"""Charts of a search."""
