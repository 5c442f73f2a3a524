"""The commands of `bert-lightning`; each is imported once its arguments are known to be right."""
