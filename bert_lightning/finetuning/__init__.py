"""From a pretrained model to a labelled task: data, heads, metrics, baselines."""
