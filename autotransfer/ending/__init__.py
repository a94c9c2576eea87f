"""The end of a search: what is made of its best candidates beside the refit of one."""
