"""The encoder, its two heads and their joint objective, in plain PyTorch."""
