"""Prints the probability that one text follows another, as `bert-lightning is-next` does.

python scripts/is_next.py RUN "a crane driver came" "he just left"
"""

from bert_lightning.cli.main import command

main = command("is-next")

if __name__ == "__main__":
    main()
