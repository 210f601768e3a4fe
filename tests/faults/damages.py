"""Every kind of file that we write and read again, and the command that reads it."""

from fault_kinds import Damage

DATA, HELD_OUT = "given/data", "given/data-holdout"

DAMAGES = (
    *(
        Damage(kind, verb, f"{DATA}/{files}")
        for kind, files in (
            ("shards", "*.arrow"),
            ("manifest", "manifest.json"),
            ("tokenizer copy", "tokenizer/*"),
            ("rejects", "rejects.jsonl"),
        )
        for verb in ("data check", "data export", "data show --html", "eval generate", "train run")
    ),
    Damage("journal of a build", "data build", "out.partial/**/*", "stopped"),
    Damage("completions in work", "eval generate", "out/*", "stopped"),
    Damage("completions, finished", "eval generate", "out/*", "finished"),
    Damage("cache of completions", "eval generate --cache", "cache/**/*", "finished"),
    Damage("completions", "eval score of our own", "given/run-a/completions.jsonl"),
    Damage("run.json", "eval score of our own", "given/run-a/run.json"),
    Damage("run.json", "eval report of runs", "given/run-?/run.json"),
    Damage("verdicts", "eval report of runs", "given/run-?/verdicts.parquet"),
    Damage("verdicts", "eval report", "given/*.parquet"),
    Damage("verdicts", "eval compare", "given/*.parquet"),
    Damage("a run's files, finished", "eval run", "out/*", "finished"),
    Damage("checkpoint", "train run", "out/full/step-*/*", "stopped"),
    Damage("run.json and metrics, in work", "train run", "out/*.json*", "stopped"),
    Damage("final of stage 1", "train run", "out/full/final/*", "stopped"),
    Damage("checkpoint, LoRA", "train run, LoRA", "out/full/step-*/**/*", "stopped"),
    Damage("adapter of stage 1", "train run, LoRA", "out/full/final/adapter/*", "stopped"),
    Damage("a run's files, finished", "train run", "out/*/final/*", "finished"),
    Damage("study.json", "train study --report", "given/study/study.json"),
    Damage("study.json", "train study", "out/study.json", "finished"),
    Damage("results of a study's runs", "train study", "out/runs/**/result.json", "finished"),
    Damage("completions of a study's runs", "train study", "out/runs/**/*.jsonl.gz", "finished"),
    Damage("models of a study's runs", "train study", "out/runs/**/final/*", "finished"),
    Damage("sets of a study", "train study", "out/sets/**/*", "stopped"),
)
