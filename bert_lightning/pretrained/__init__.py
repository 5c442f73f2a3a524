"""Pretrained models on disk and on the hub: checkpoints, Hugging Face folders, initial weights."""
