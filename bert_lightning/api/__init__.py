"""What Python and notebooks call: `bert_lightning.fit` and its result."""
