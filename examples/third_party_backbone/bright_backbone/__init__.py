"""An example of a plugin for autotransfer."""
