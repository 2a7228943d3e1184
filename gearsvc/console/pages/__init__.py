"""
What the console shows to people.

A L{Page <gearsvc.console.pages.serving.Page>} says what there is to see, out of
the plain values of L{gearsvc.console.views}, and what can be done there; the
parts that all pages are made of are in C{layout}, C{parts}, C{tables},
C{charts} and C{forms}; C{tree} says where each page is.

Everything works without a script.  With it, a page that is open follows what
happens.  All text goes through L{twisted.web.template}, which escapes it.
"""
