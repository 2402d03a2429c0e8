#!/bin/sh
# Runs the cells of a selection as an array of N jobs in Slurm, and merges them in a job that depends
# on the array. Submitted again it runs only the shards that did not come to their end. DIR is a
# folder that all nodes see under one path. SBATCH_* have further options.
# usage: slurm.sh DIR N [ARGUMENTS OF s2lab plan]
set -eu
here=$(dirname "$(realpath "$0")")
mkdir -p "$1"
dir=$(realpath "$1") n=$2
shift 2
s2lab plan "$@" -o "$dir/plan.json"
shards=$(sbatch --parsable --job-name s2lab --array "1-$n" --output "$dir/shard-%a.log" \
    --wrap "exec '$here/shard.sh' '$dir' \$SLURM_ARRAY_TASK_ID $n")
merge=$(sbatch --parsable --job-name s2lab-merge --dependency "afterany:$shards" \
    --output "$dir/merge.log" --wrap "exec '$here/merge.sh' '$dir'")
echo "shards: job $shards, merge: job $merge; the result will be in $dir/merge.log"
