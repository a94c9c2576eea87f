"""Source models of one's own: training on a source task, and carrying what a large model knows into a small one."""
