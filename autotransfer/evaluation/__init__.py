"""Evaluating a candidate: training it on some rows and scoring it on others, and what that costs."""
