"""The executor: runs tasks in slots, suspends and resumes them within milliseconds.

``core`` decides (no I/O), ``supervisor`` carries out, ``zygote`` forks slot processes, ``slot`` is
what runs inside one, ``store`` keeps results and moves them between executors.
"""
