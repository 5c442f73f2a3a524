"""The special tokens, for code that needs no torch: workers that prepare text start without it."""

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The special tokens; a tokenizer built here gives them the ids 0 to 4, in this order."""
