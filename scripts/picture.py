"""Draws a picture of a run or of a model, as `bert-lightning picture` does.

python scripts/picture.py word RUN crane
"""

from bert_lightning.cli.main import command

main = command("picture")

if __name__ == "__main__":
    main()
