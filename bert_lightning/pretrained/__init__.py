"""What a trained model left behind, for training to start from and for inference to use."""
