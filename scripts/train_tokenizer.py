"""Trains a tokenizer on text files, as `bert-lightning tokenizer` does.

python scripts/train_tokenizer.py notes/*.txt --kind wordpiece --vocab-size 8000
"""

from bert_lightning.cli.main import command

main = command("tokenizer")

if __name__ == "__main__":
    main()
