"""Every kind of file that we write and read again, and the command that reads it."""

from fault_kinds import Damage

DATA = "given/data"

DAMAGES = (
    *(
        Damage(kind, verb, f"{DATA}/{files}")
        for kind, files in (
            ("shards", "*.arrow"),
            ("manifest", "manifest.json"),
            ("tokenizer copy", "tokenizer/*"),
        )
        for verb in ("data check", "data export", "data show --html", "eval generate", "train run")
    ),
    *(Damage("rejects", verb, f"{DATA}/rejects.jsonl") for verb in ("data check", "data show --html")),
    Damage("journal of a build", "data build", "out.partial/**/*", moment="stopped"),
    Damage("completions in work", "eval generate", "out/*", moment="stopped"),
    Damage("completions, finished", "eval generate", "out/*", moment="finished"),
    Damage("cache of completions", "eval generate --cache", "cache/**/*", moment="finished", without="out"),
    Damage("completions", "eval score of our own", "given/run-a/completions.jsonl"),
    Damage("run.json", "eval score of our own", "given/run-a/run.json"),
    Damage("run.json", "eval report of runs", "given/run-?/run.json"),
    Damage("verdicts", "eval report of runs", "given/run-?/verdicts.parquet"),
    Damage("verdicts", "eval report", "given/*.parquet"),
    Damage("verdicts", "eval compare", "given/*.parquet"),
    Damage("a run's files, finished", "eval run", "out/*", moment="finished"),
    Damage("checkpoint", "train run", "out/full/step-*/*", moment="stopped"),
    Damage("run.json and metrics, in work", "train run", "out/*.json*", moment="stopped"),
    Damage("final of stage 1", "train run", "out/full/final/*", moment="stopped"),
    Damage("checkpoint, LoRA", "train run, LoRA", "out/full/step-*/**/*", moment="stopped"),
    Damage("adapter of stage 1", "train run, LoRA", "out/full/final/adapter/*", moment="stopped"),
    Damage("a run's files, finished", "train run", "out/*/final/*", moment="finished"),
    Damage("study.json", "train study --report", "given/study/study.json"),
    Damage("study.json", "train study", "out/study.json", moment="finished"),
    Damage("results of a study's runs", "train study", "out/runs/**/result.json", moment="finished"),
    Damage("completions of a study's runs", "train study", "out/runs/**/*.jsonl.gz", moment="finished"),
    Damage("models of a study's runs", "train study", "out/runs/**/final/*", moment="finished"),
    Damage("sets of a study", "train study", "out/sets/**/*", moment="stopped"),
)
