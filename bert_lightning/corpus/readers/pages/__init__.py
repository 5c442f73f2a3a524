"""Pages as programs write them, to the paragraphs that people read: HTML and Wikipedia."""
