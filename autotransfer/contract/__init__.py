"""The plugin contract: hooks (hookspecs), specs and classes of plugins, and the registry."""
