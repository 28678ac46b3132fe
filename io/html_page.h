/* html_page.h: the text around the data of a page: page.html with page.css and page.js in it, which
 * cmake/embed.cmake puts into a C file when the command is built. */
#ifndef IO_HTML_PAGE_H
#define IO_HTML_PAGE_H

extern const char io_html_page[]; /* the data goes where it says @data@ */

#endif
