"""From anything a user has to decoded images: sources, decoding, splits."""
