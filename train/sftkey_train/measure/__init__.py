"""What a run measures beside the loss: held-out metrics, cost, memory, plots, trackers."""
