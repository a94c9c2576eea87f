"""The modalities of this package; each reads, decodes and prepares one kind of example."""
