"""What a trained model is used for: vectors, fill-ins, is-next."""
