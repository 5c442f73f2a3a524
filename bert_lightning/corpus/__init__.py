"""Text to a prepared corpus: sources, sentences, splits, a tokenizer, and ids on disk."""
