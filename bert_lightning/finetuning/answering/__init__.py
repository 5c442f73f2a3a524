"""Questions about a text whose answers are spans of it."""
