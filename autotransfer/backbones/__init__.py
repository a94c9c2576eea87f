"""Loaded backbones: cut into a frozen prefix and a trainable suffix, and fast where they are frozen."""
