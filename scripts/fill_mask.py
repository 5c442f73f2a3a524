"""Prints the most probable words for a [MASK], as `bert-lightning fill-mask` does.

python scripts/fill_mask.py RUN "the [MASK] is flying" --top 5
"""

from bert_lightning.cli.main import command

main = command("fill-mask")

if __name__ == "__main__":
    main()
