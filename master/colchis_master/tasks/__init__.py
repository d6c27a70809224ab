"""The task scheduler: which task runs in which slot, and who steps aside for whom.

A core without I/O: :class:`~colchis_master.tasks.scheduler.TaskScheduler` takes events and returns
instructions. Words, laws and policies are those of Neptune (SoCC'19), made whole: see the modules
``lifecycle`` (the states of a task), ``scheduler`` (the laws) and ``policies`` (the choices).
"""
