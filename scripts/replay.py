"""Repeats one step of a run, as `bert-lightning replay` does.

python scripts/replay.py RUN 437
"""

from bert_lightning.cli.main import command

main = command("replay")

if __name__ == "__main__":
    main()
