"""The plugins that come with autotransfer, registered through the same entry points as everybody else's."""
