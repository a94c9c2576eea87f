"""The plugin contract: the doors (hookspecs), what goes through them (specs, backbone), and who came in (registry)."""
