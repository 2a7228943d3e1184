"""
C{twistd gearman}.
"""

from twisted.application.service import ServiceMaker

gearman = ServiceMaker("gearsvc", "gearsvc.tap", "A Gearman job server.", "gearman")
