#!/bin/bash
# srun on one machine: starts the command once for each of SLURM_NNODES nodes, with what srun tells a task.
tasks=()
for ((node = 0; node < SLURM_NNODES; node++)); do
    SLURM_NTASKS=$SLURM_NNODES SLURM_PROCID=$node SLURM_NODEID=$node SLURM_LOCALID=0 SLURM_STEP_ID=0 "$@" &
    tasks+=($!)
done
code=0
for task in "${tasks[@]}"; do
    wait "$task" || code=$?
done
exit $code
