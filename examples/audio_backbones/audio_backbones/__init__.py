"""Four audio networks as backbones for autotransfer."""
