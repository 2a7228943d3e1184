"""
gearsvc: a Gearman job server on Twisted.

C{twistd gearman} runs it; L{gearsvc.service.JobServerService} adds it to any
Twisted application.
"""

__version__ = "0.1.0"
