/* links.h: what alignment.c and extract.c share. */
#ifndef TEXT_LINKS_H
#define TEXT_LINKS_H

#include "alignment.h"

/* Adds a link at the end. */
bool text_links_add(text_links *links, text_link link, io_error *error);

/* Sorts, and keeps one of equal links: the sure one. */
void text_links_sort(text_links *links);

#endif
