"""Limits of a symbolic worker, known to the process that starts it and to the worker itself."""

CPU_SECONDS = 0.5  # processor time of one request; with the start of a new worker an answer stays below two seconds
WALL_SECONDS = 10.0  # for a worker that waits instead of working
START_SECONDS = 120.0  # until a worker is ready; importing sympy takes a second on an idle machine
MEMORY_BYTES = 1 << 30  # address space
MAX_REQUESTS = 2_000  # then a fresh worker: sympy's caches only grow
