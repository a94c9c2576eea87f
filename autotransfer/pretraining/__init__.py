"""Training source models: on a source task, or from a teacher."""
