"""Measures what each layer says of labels, as `bert-lightning probe` does.

python scripts/probe.py RUN task=tokens data.path=FOLDER
"""

from bert_lightning.cli.main import command

main = command("probe")

if __name__ == "__main__":
    main()
