"""Types of the arrays that positions, lengths, ids and marks are kept in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]
"""Of int32 or int64: what comes from an encoder or goes into a column."""
Int64s = NDArray[np.int64]
"""What positions and counts are computed with."""
Bools = NDArray[np.bool_]
"""A mark on each row."""
