"""Selection of the final model: finals, ensemble, refit, calibration."""
