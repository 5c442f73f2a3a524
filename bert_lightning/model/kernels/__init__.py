"""Triton kernels, each equal to plain lines that run where Triton does not."""
