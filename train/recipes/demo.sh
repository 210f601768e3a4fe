#!/bin/sh
# A whole study on generated data, in demo/: data, tokenizer, stage 1 and three arms with four seeds, scores, report.
# Run in the repository's folder; the same command goes on after an interruption.
set -eu
here=$(dirname "$0")
sftkey-train study "$here/studies/small.toml" --workers 2

# Short names for what the documentation goes on with; the newest, as other settings lie beside each other.
newest() { ls -td "$@" | head -n 1; }
sets=$(newest demo/study/sets/choice-*/)
for name in tokenizer train test; do
    ln -sfn "${sets#demo/}$name" "demo/$name"
done
mkdir -p demo/models
for arm in stage1 continued sftkey annealed; do
    run=$(newest demo/study/runs/choice/seed-0/$arm-*/)
    ln -sfn "../${run#demo/}training/$arm/final" "demo/models/$arm"
done
sftkey-data show demo/train --num 1
