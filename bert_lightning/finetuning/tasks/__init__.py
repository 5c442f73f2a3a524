"""The kinds of tasks: what each has of its own, in one module each."""
