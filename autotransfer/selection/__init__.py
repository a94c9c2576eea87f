"""From the best candidates to one model: finals, ensemble, soup, refit, calibration."""
