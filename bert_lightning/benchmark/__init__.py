"""Training steps of this project and of others, side by side."""
