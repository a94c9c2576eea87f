"""``python -m autotransfer``."""

from autotransfer.cli import main

if __name__ == "__main__":
    main()
