#!/bin/sh
# Runs the shapes of benches/results/ on this machine, one file a run, and makes the tables of RESULTS.md anew.
#
#     [SETS="avx512 avx2"] benches/record.sh [WRAPPER…]
#
# SETS are the instruction sets, those that the processor lacks are left out; WRAPPER is put before each run, to keep
# the machine quiet meanwhile. Needs a release build and, for the largest
# shape with gradients, 8 GiB of memory.
set -eu
cd "$(dirname "$0")/.."
surprisal=target/release/surprisal
commit=$(git rev-parse --short HEAD)

# record REPETITIONS N D V DTYPE PASS [OPTION…]
record() {
    repetitions=$1 tokens=$2 hidden=$3 vocab=$4 dtype=$5 pass=$6
    shift 6
    $wrapper "$surprisal" bench --tokens "$tokens" --hidden "$hidden" --vocab "$vocab" --dtype "$dtype" \
        --pass "$pass" --repetitions "$repetitions" --no-baseline --record benches/results --commit "$commit" \
        "$@" > /dev/null
}

wrapper=$*
for isa in ${SETS:-avx512 avx2}; do
    export SURPRISAL_ISA=$isa
    "$surprisal" bench --tokens 1 --hidden 1 --vocab 1 --repetitions 1 --quiet > /dev/null 2>&1 || continue
    for dtype in f32 bf16; do
        for pass in forward forward-backward; do
            record 5 1024 768 50257 "$dtype" "$pass"
            record 3 1024 2304 32768 "$dtype" "$pass"
            record 100 64 256 4096 "$dtype" "$pass"
            record 5 1 2304 256000 "$dtype" "$pass"
        done
    done
done
unset SURPRISAL_ISA

"$surprisal" bench --tables benches/results > benches/tables.new
awk '
    /^<!-- end of the tables -->$/ { inside = 0 }
    !inside { print }
    /^<!-- tables of results\/ -->$/ { inside = 1; while ((getline line < "benches/tables.new") > 0) print line }
' benches/RESULTS.md > benches/RESULTS.md.new
mv benches/RESULTS.md.new benches/RESULTS.md
rm benches/tables.new
