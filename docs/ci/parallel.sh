#!/bin/sh
# Runs the cells of a selection in N shards with GNU parallel, and merges them. Started again it runs
# only the shards that did not come to their end. PARALLEL has options for parallel, such as
# `--sshloginfile hosts --jobs 1`; DIR is then a folder that all hosts see under one path.
# usage: parallel.sh DIR N [ARGUMENTS OF s2lab plan]
set -eu
here=$(dirname "$(realpath "$0")")
mkdir -p "$1"
dir=$(realpath "$1") n=$2
shift 2
s2lab plan "$@" -o "$dir/plan.json"
# The exit code of a shard is in the merged run too.
seq "$n" | parallel --joblog "$dir/joblog" "$here/shard.sh" "$dir" {} "$n" || true
exec "$here/merge.sh" "$dir"
