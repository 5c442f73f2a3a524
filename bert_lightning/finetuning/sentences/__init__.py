"""Sentence vectors: which texts belong together, the contrastive loss, the export."""
