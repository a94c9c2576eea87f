"""The steps of a fit: prepare, search, select, analyse."""
