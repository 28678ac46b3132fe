/* translate_html.h: the page of attn translate --html, as cmake/embed.cmake makes it of translate.html. */
#ifndef CLI_TRANSLATE_HTML_H
#define CLI_TRANSLATE_HTML_H

extern const char cli_translate_html[];

#endif
