/* error.h: errors as values.
 *
 * Every function of io/ that can fail returns false and leaves one sentence, fit to be shown to the
 * user as it is: it names the file and the field, says what is there and what was expected.
 */
#ifndef IO_ERROR_H
#define IO_ERROR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct io_error {
    char text[1024]; /* longer sentences are cut; "" before any failure */
} io_error;

/* Stores the sentence; error may be NULL. */
void io_describe(io_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same as an expression that is false, so that a check is one line:
 * `if (bad) return io_fail(error, "%s: ...", path);` */
#define io_fail(...) (io_describe(__VA_ARGS__), false)

#ifdef __cplusplus
}
#endif

#endif
