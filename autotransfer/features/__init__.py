"""Features of a frozen prefix: computed once, cached, and read by every trial."""
