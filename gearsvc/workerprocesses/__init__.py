"""
Workers that the server starts, and keeps running: C{--worker}.

What is wanted is read by L{gearsvc.workerprocesses.wanted};
L{gearsvc.workerprocesses.started.StartedWorkers} has them all, each either a
process that speaks Gearman (L{gearsvc.workerprocesses.processes}) or a command
that is run for each job (L{gearsvc.workerprocesses.commands}).
"""
