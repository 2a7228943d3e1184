"""
The console: an API, metrics and pages about a running job server.

L{gearsvc.console.views} says what there is to see, as plain values; everything
that is shown, in whatever form, comes from there.
"""
