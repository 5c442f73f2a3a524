"""Fine-tunes a BERT to a labelled task, as `bert-lightning finetune` does.

python finetune.py task=text data.path=banking77/train.csv init_from=runs/first
"""

from bert_lightning.cli.main import command

main = command("finetune")

if __name__ == "__main__":
    main()
