"""autotransfer: finds the best way to transfer a pretrained model to your task."""
