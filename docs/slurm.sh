#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
# Trains on the GPUs of several nodes: one task a node, which starts one process a GPU. From torchDVC/:
#
#   sbatch ../docs/slurm.sh --lmda 2048 --model_config baseline.csv --run_config baseline/scratch.cfg
#
# It ends by itself ten minutes before its time, saved; submitted again with --restore resume it goes on from there.

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_NNODES" --nproc_per_node "${SLURM_GPUS_ON_NODE:-4}" --rdzv_id "$SLURM_JOB_ID" \
    --rdzv_backend c10d --rdzv_endpoint "$head:${PORT:-29400}" trainer.py --max_minutes 230 "$@"
