"""Residual blocks: the ARL sum, its fast form, and the blocks of torchvision and timm that can have it."""
