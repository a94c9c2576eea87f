"""Evaluation of candidates: training, scoring, and predicted costs."""
