#!/bin/bash
# Starts COUNT copies of a program; the first failure, in the order of their numbers, decides.
source "$(dirname "$0")/launcher_lib.sh"

_PSI_J_PROCESS_COUNT=$1
export _PSI_J_PROCESS_COUNT
shift

pre_launch

: > "$_PSI_J_STDOUT"
: > "$_PSI_J_STDERR"
pids=()
for ((i = 1; i <= _PSI_J_PROCESS_COUNT; i++)); do
    _PSI_J_PROCESS_INDEX_=$i "$@" >> "$_PSI_J_STDOUT" 2>> "$_PSI_J_STDERR" < "$_PSI_J_STDIN" &
    pids+=($!)
done

code=0
for pid in "${pids[@]}"; do
    each=0
    wait "$pid" || each=$?
    [ "$each" = 0 ] || log "process $pid failed with exit code $each"
    [ "$code" != 0 ] || code=$each
done

post_launch
exit "$code"
