"""Loaded backbones, their cuts into a frozen prefix and a trainable suffix, and fast inference."""
