"""The commands of `bert-lightning`. Torch loads in seconds, so each imports it when it needs it."""
