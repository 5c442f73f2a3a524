"""Pretrains BERT, as `bert-lightning train` does.

python train.py model=tiny trainer.devices=2
"""

from bert_lightning.cli.main import command

main = command("train")

if __name__ == "__main__":
    main()
