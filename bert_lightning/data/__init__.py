"""Text to batches: sentences, ids, pairs, masks, and the pure function that joins them."""
