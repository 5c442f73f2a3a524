"""Measures the accuracy on minimal pairs, as `bert-lightning minimal-pairs` does.

python scripts/minimal_pairs.py RUN blimp/*.jsonl
"""

from bert_lightning.cli.main import command

main = command("minimal-pairs")

if __name__ == "__main__":
    main()
