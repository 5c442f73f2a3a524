"""Prints the vectors of a text, as `bert-lightning encode` does.

python scripts/encode.py RUN "a crane is flying" "the crane lifted the steel" --word crane
"""

from bert_lightning.cli.main import command

main = command("encode")

if __name__ == "__main__":
    main()
