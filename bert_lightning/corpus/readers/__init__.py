"""Text as it comes: files, tables, and the prose that every Python carries."""
