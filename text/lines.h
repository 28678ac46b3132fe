/* lines.h: text files, line by line.
 *
 * Files are read through zlib, so that what gzip made is read as well as what it did not. A line
 * ends at LF, CR LF or the end of the file; a byte order mark before the first is dropped. Lines
 * are valid UTF-8 without NUL, or refused with the name and number of the line.
 */
#ifndef TEXT_LINES_H
#define TEXT_LINES_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TEXT_LINE_LIMIT = 1 << 20 }; /* the longest line, in bytes, unless the caller says another */

typedef enum text_read {
    TEXT_READ_END,    /* there is no further line */
    TEXT_READ_LINE,   /* the next line is in text */
    TEXT_READ_FAILED, /* the sentence is in *error */
} text_read;

typedef struct text_lines {
    char *text;       /* the line read last, without its end; the next one overwrites it */
    size_t length;    /* its bytes */
    int64_t number;   /* of the line, from 1 */
    size_t limit;     /* the longest line that is taken, in bytes */
    const char *name; /* for sentences */

    /* private */
    void *file;   /* a gzFile, or NULL where there is a */
    FILE *stream; /* which the caller owns */
    size_t capacity;
    bool ended;
} text_lines;

/* Opens a file, plain or compressed by gzip. The path must outlive the reader. On success end it
 * with text_lines_close. */
bool text_lines_open(text_lines *lines, const char *path, io_error *error);

/* Reads from a stream, plain text, and no further than the end of the line at hand: a line typed at
 * a terminal is there at once. text_lines_close leaves the stream open. */
void text_lines_from(text_lines *lines, FILE *stream, const char *name);

/* Reads the next line. After a line that is refused (too long, not UTF-8, with a NUL) the next call
 * reads the line after it; after a file that cannot be read it reports the end. */
text_read text_lines_next(text_lines *lines, io_error *error);

/* Frees and zeroes; fine on a zeroed reader. */
void text_lines_close(text_lines *lines);

/* Pairs of sentences: a line is `source TAB target`, and may have more columns. */
typedef struct text_pairs {
    int64_t count;
    const char **source; /* [count] */
    const char **target; /* [count] */
    const char **rest;   /* [count]; what follows a second tab, further tabs included, or NULL */
    int64_t *line;       /* [count]; its number in the file */
    void *block;         /* private: all of the above is in it */
} text_pairs;

/* Splits the line at hand, in place, into source, target and rest (NULL if there is none). Refuses
 * fewer than two columns, and a source or target of white space alone. */
bool text_lines_pair(text_lines *lines, const char **source, const char **target, const char **rest,
                     io_error *error);

/* Reads a whole file of pairs; refuses one without any. On success free it. */
bool text_pairs_read(text_pairs *pairs, const char *path, io_error *error);

/* Frees and zeroes; fine on zeroed pairs. */
void text_pairs_free(text_pairs *pairs);

#endif
