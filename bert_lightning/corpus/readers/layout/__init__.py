"""How the lines of a text are laid out: what a document is, and which line breaks are hard."""
