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
    *(
        Damage(f"journal of a build: {kind}", "data build", f"out.partial/{files}", moment="stopped")
        for kind, files in (("tallies", "unit-*"), ("shards", "*.arrow"), ("others", "[!du]*-*"))
    ),
    Damage("journal of a build: its holdout", "data build", "out-holdout.partial/*-*", moment="stopped"),
    Damage("journal of completions", "eval generate", "out/*.partial", moment="stopped"),
    Damage("run.json, in work", "eval generate", "out/run.json", moment="stopped"),
    Damage("completions, finished", "eval generate", "out/*", moment="finished"),
    Damage("run.json, finished", "eval generate", "out/run.json", moment="finished"),
    Damage("cache of completions", "eval generate --cache", "cache/**/*", moment="finished", without="out"),
    Damage("completions", "eval score of our own", "given/run-a/completions.jsonl"),
    Damage("run.json", "eval score of our own", "given/run-a/run.json"),
    Damage("imported completions", "eval score of imported", "given/imported.jsonl"),
    Damage("teacher-forced Keys", "eval report of runs", "given/run-?/teacher_forced.jsonl"),
    Damage("verdicts", "eval report of runs", "given/run-?/verdicts.parquet"),
    Damage("verdicts", "eval report", "given/*.parquet"),
    Damage("verdicts", "eval compare", "given/*.parquet"),
    Damage("a run's files, finished", "eval run", "out/*", moment="finished"),
    *(
        Damage(file, "eval run", f"out/{file}", moment="finished")
        for file in ("run.json", "verdicts.parquet", "teacher_forced.jsonl", "teacher_forced.json")
    ),
    Damage("journal of teacher-forced Keys", "eval run", "out/teacher_forced*.*.*", moment="stopped"),
    Damage("checkpoint", "train run", "out/full/checkpoint-*/*", moment="stopped"),
    *(
        Damage(f"{file}, {when}", "train run", f"out/{file}", moment=moment)
        for file in ("run.json", "metrics.jsonl")
        for moment, when in (("stopped", "in work"), ("finished", "finished"))
    ),
    Damage("origin.json", "train run", "out/full/final/origin.json", moment="stopped"),
    Damage("final of stage 1", "train run", "out/full/final/*", moment="stopped"),
    Damage("checkpoint, LoRA", "train run, LoRA", "out/full/checkpoint-*/**/*", moment="stopped"),
    Damage("adapter of stage 1", "train run, LoRA", "out/full/final/adapter/*", moment="stopped"),
    Damage("a run's files, finished", "train run", "out/*/final/*", moment="finished"),
    Damage("study.json", "train study --report", "given/study/study.json"),
    Damage("study.json", "train study", "out/study.json", moment="finished"),
    Damage("results of a study's runs", "train study", "out/runs/**/result.json", moment="finished"),
    Damage("completions of a study's runs", "train study", "out/runs/**/*.jsonl.gz", moment="finished"),
    Damage("models of a study's runs", "train study", "out/runs/**/final/*", moment="finished"),
    Damage("sets of a study", "train study", "out/sets/**/*", moment="stopped"),
)
