#!/bin/sh
# Merges the shards in DIR into DIR/merged. A shard or a cell that never came is a MISS, exit 3.
# usage: merge.sh DIR
set -eu
dir=$1
rm -rf "$dir/merged"
exec s2lab merge "$dir"/shard-*/ --plan "$dir/plan.json" --out "$dir/merged"
