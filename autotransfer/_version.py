"""The version, as the installed distribution states it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("autotransfer")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0"
