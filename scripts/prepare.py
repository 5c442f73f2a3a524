"""Prepares a corpus without training on it, as `bert-lightning prepare` does.

python scripts/prepare.py data=text data.path=FOLDER
"""

from bert_lightning.cli.main import command

main = command("prepare")

if __name__ == "__main__":
    main()
