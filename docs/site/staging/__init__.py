"""Makes the sources of the site: what Sphinx reads is the pages of docs/site and pages made of the
files that are the manual anyway: public headers, man pages, examples and documents."""
