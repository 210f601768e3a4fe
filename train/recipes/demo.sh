#!/bin/sh
# The whole path on a generated dataset, with the commands a user would type: data, tokenizer, four trainings, report.
# Every step that is complete is kept, so that running it again after an interruption goes on.
# Usage: demo.sh OUT [SEED], one folder a seed
set -eu
out=${1:-demo}
seed=${2:-0}
here=$(dirname "$0")

# Two-step sums; the Key is the letter of one of three close options, which the CoT does not name: a regime with slips.
task="--set kind=sums --set regime=choice --set min_steps=2 --set max_steps=2 --set num_choices=3 --set distractor_gap=4 --set max_value=20"

build() { # build FOLDER NUM SPLIT [OPTION ...]
    folder=$1 num=$2 split=$3
    shift 3
    # shellcheck disable=SC2086 # the options of the task are words
    [ -e "$out/$folder/manifest.json" ] ||
        sftkey-data build arithmetic $task --set num="$num" --split "$split" --out "$out/$folder" "$@"
}

build text 2000 train
[ -e "$out/tokenizer/tokenizer.json" ] || python "$here/demo_tokenizer.py" --data "$out/text" --out "$out/tokenizer"
build train 6000 train --tokenizer "$out/tokenizer"
build test 400 test --tokenizer "$out/tokenizer"
sftkey-data show "$out/train" --num 1

sftkey-train run "$here/demo.toml" --set data="$out/train" --set heldout="$out/test" --set out="$out/run" --set seed="$seed"

for arm in stage1 answer_only continued key40; do
    sftkey-eval run --model "$out/run/$arm/final" --data "$out/test" --out "$out/eval/$arm" \
        --batch-size 100 --max-new-tokens 48
done
# The first run is what the others are paired with: the equal-budget control.
sftkey-eval report continued="$out/eval/continued" answer_only="$out/eval/answer_only" key40="$out/eval/key40" \
    stage1="$out/eval/stage1" --out "$out/report"
