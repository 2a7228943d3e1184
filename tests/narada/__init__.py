"""
Tests of C{examples/narada}.
"""
