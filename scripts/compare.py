"""Ranks the runs of a sweep, or any others, as `bert-lightning compare` does.

python scripts/compare.py RUN...
"""

from bert_lightning.cli.main import command

main = command("compare")

if __name__ == "__main__":
    main()
