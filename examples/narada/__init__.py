"""
Narada: a search engine made of four Gearman workers.

It is the example of the talk "Gearman: Bringing the Power of Map/Reduce to
Everyday Applications", in Python:

  - B{insert} takes a URL, writes it into the table of URLs, unless it is there
    already, and notifies
  - B{fetch}, which requests it, finds the page's text and links, and hands the
    links that are of the same site, and not too deep, back to insert;
  - B{index} puts the pages' text into the index, several at a time;
  - B{search} answers queries.

The first three do background jobs, which the server keeps in a durable queue;
the last one does foreground jobs, which somebody waits for.  Where what is:

  - L{examples.narada.urls}: what a URL is, once it is normal, and which are of one site
  - L{examples.narada.parsing}: from the bytes of a page to its title, text and links
  - L{examples.narada.documents}: the database: URLs, pages, links, and the index
  - L{examples.narada.query}: from what people type to what the index is asked
  - L{examples.narada.fetching}: HTTP, and the manners of a robot
  - L{examples.narada.workers}: the four workers, each a process
  - L{examples.narada.processes}: the processes, which are started again when they end
  - L{examples.narada.searchpage}: the page with the search and the crawl's progress
  - L{examples.narada.smallsite}: the site that is crawled when no other is named
  - L{examples.narada.command}: the command line, which sets it all going
"""
