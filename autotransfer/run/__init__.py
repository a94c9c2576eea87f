"""One run: its folder, its result, and its progress on the terminal."""
