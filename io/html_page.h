/* html_page.h: the fixed lines of the HTML page, each list ended by NULL. */
#ifndef IO_HTML_PAGE_H
#define IO_HTML_PAGE_H

extern const char *const io_html_before[]; /* up to the data */
extern const char *const io_html_after[];  /* from there to the end */

#endif
