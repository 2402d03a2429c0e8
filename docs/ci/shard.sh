#!/bin/sh
# Runs shard I of N of DIR/plan.json into DIR/shard-I, unless it has come to its end there.
# usage: shard.sh DIR I N
set -eu
dir=$1 i=$2 n=$3
out=$dir/shard-$i
if tail -n 1 "$out/events.jsonl" 2>/dev/null | grep -q '"event":"run-ended"'; then
    exit 0
fi
rm -rf "$out"
exec s2lab run --plan "$dir/plan.json" --shard "$i/$n" --out "$out" -q
