"""One run: its folder, its result, and what a user sees while it goes on."""
