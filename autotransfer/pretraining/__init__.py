"""Pretraining of backbones on a source task or from a teacher, and distillation of models."""
