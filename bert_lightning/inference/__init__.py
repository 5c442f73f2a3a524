"""The loaded model: encode, fill a mask, is-next, pseudo-likelihood, export."""
