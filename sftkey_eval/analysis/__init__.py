"""What the formulas of `statistics` are applied to: runs, pairs of runs, arms over seeds, samples."""
