"""The modalities that come with the package: what reads, decodes and prepares one kind of example each."""
