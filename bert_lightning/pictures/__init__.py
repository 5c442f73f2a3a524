"""Pictures of what a run learned, each a matplotlib figure that a notebook shows.

from bert_lightning.pictures.draw import attention, labels, learning, loss, word

word("runs/...", "crane").save("crane.png")
"""
