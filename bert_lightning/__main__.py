"""`python -m bert_lightning COMMAND …` is `bert-lightning COMMAND …`."""

from bert_lightning.cli.main import main

if __name__ == "__main__":
    main()
