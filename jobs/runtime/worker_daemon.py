"""The process that Spark forks its Python workers from, with what they need already in memory.

Spark's own daemon forks bare workers: each would import for 2 to 3 s before its first task, and collect the
garbage of all those modules after every task (0.1 s). Here the modules and the compiled kernels are loaded
once, are shared by all workers, and are frozen out of the collector's sight.
"""

from __future__ import annotations

import gc

from pyspark.daemon import manager

from jobs.runtime.warm_up import warm_up

if __name__ == "__main__":
    warm_up()
    gc.collect()
    gc.freeze()
    manager()
