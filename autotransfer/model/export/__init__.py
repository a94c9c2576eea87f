"""Models in the formats of other programs, with the preprocessing inside; each is compared with the model."""
