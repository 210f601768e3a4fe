"""The model of a run: loaded, adapted, sharded, and its optimizer."""
