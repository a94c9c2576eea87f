"""Signals as a modality of autotransfer."""
