"""Jobs: DAGs of stages, from a client's submission to its results.

``state`` is what a job consists of, ``core`` decides (no I/O) and drives the task scheduler,
``journal`` makes accepted jobs outlive the process, ``service`` speaks to clients and executors.
"""
