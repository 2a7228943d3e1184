"""
The commands of C{gearsvc}, a module for each.

A command is a line in the table of L{gearsvc.commandline.commands}, and a module
that has two functions:

  - C{add_parser(parser)} fills a parser: description, options, and examples, by
    L{gearsvc.commandline.frame.describe}.  All that C{--help}, the completion
    of shells and the manual pages say comes from there.
  - C{run(arguments)} does it, and returns the exit status.  What it raises as
    L{gearsvc.commandline.frame.CommandError} becomes one line on stderr and
    status 1.

A module that reads its words itself, as those do that take another tool's
flags, has C{main(words)} in place of C{run}, and C{add_parser} all the same.

Modules are imported when their command runs: C{gearsvc serve} waits for none of
the others.
"""
