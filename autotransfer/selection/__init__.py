"""Selection of the final model: finals, ensemble, soup, refit, calibration."""
