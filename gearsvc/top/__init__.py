"""
C{gearsvc top}: a Gearman server in the terminal, as it runs.
"""
