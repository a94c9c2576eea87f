"""The page of a run: what it shows as data, the pictures, and the templates."""
