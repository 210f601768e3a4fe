"""A study: arms, seeds and datasets as one plan of runs, trained, generated for and scored in process."""
