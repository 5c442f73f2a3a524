"""Vocabularies: built from a corpus, or extended by the words of one."""
