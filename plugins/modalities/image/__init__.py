"""Images: reading, decoding once, views and augmentation."""
