#!/bin/bash
# Not run yet on a real SLURM. sbatch docs/launch/slurm.sh, from a checkout that all nodes see;
# docs/distributed.md explains each line.
#SBATCH --job-name=bert-base
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append

srun --kill-on-bad-exit=1 \
    python train.py model=base data=wikipedia trainer.num_nodes=4 trainer.devices=8 \
    hydra.run.dir=runs/base resume=auto
