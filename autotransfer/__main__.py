"""``python -m autotransfer``."""

from autotransfer.cli.main import main

if __name__ == "__main__":
    main()
