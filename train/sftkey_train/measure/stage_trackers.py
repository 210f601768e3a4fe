"""The rows of metrics.jsonl to accelerate's trackers."""

from collections.abc import Mapping

from sftkey_data.publish.trackers import Trackers, check_trackers
from sftkey_train.measure.metrics_log import MetricsRow
from sftkey_train.recipe import Recipe


def check_recipe_trackers(recipe: Recipe) -> None:
    """Refuse, before the first step, trackers that accelerate does not know or that are not installed.

    Raises:
        SFTKeyError: As `check_trackers`.
    """
    check_trackers(recipe.trackers, "train")


class StageTrackers:
    """The trackers of a run, open from `start` to `close`.

    Args:
        recipe: Names them; its settings are recorded. None: no trackers, as on every rank but the first.
        steps_before: How many steps all earlier stages have, by stage; some trackers want steps that only grow.
    """

    def __init__(self, recipe: Recipe | None, steps_before: Mapping[str, int]) -> None:
        self._steps_before = steps_before
        self._trackers = recipe and Trackers(
            recipe.trackers,
            run_name=recipe.name,
            folder=recipe.out,
            settings=recipe.resolved(),
            on_cpu=recipe.device == "cpu",
        )

    def start(self) -> None:
        """Open what is not open yet."""
        if self._trackers:
            self._trackers.start()

    def log(self, row: MetricsRow) -> None:
        """Send one row of metrics.jsonl; its values are called `STAGE/KIND/NAME`, the steps of all stages count on."""
        if self._trackers:
            step = self._steps_before[row["stage"]] + row["step"]
            self._trackers.log(row, prefix=f"{row['stage']}/{row['kind']}/", step=step)

    def close(self) -> None:
        """Write what is still held back."""
        if self._trackers:
            self._trackers.close()
