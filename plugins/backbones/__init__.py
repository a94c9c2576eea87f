"""Backbone plugins."""
