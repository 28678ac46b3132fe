/* progress.h: how far long work is: a bar with the time left on a terminal, plain lines elsewhere. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_progress {
    const char *what;
    bool terminal;       /* standard error is one */
    int64_t line_every;  /* without one: a line for so many steps; 0: none */
    double began, shown; /* seconds */
    int64_t first;       /* what was done when it began */
    bool drawn;
    int64_t all; /* the caller's, for whoever shows it */
} cli_progress;

/* The time left counts from here. */
void cli_progress_open(cli_progress *progress, const char *what, int64_t line_every);

/* Shows it, on standard error, if it is time to. Where a line is too long for the window, the bar is
 * shorter, and the end of the text is left out; narrow windows have no bar. */
void cli_progress_show(cli_progress *progress, int64_t done, int64_t all, const char *text);

/* On a terminal: puts a text in the bar's place for now. */
void cli_progress_note(cli_progress *progress, const char *text);

/* Takes the bar away, so that something else can be printed. */
void cli_progress_clear(cli_progress *progress);

#endif
