/* tokens.h: the words that rows and columns of the weights stand for. */
#ifndef IO_TOKENS_H
#define IO_TOKENS_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

typedef struct io_tokens {
    char **text; /* valid UTF-8, without control characters */
    int64_t count;
} io_tokens;

/* One token a line. Refuses what is not UTF-8, naming the line. */
bool io_tokens_read_lines(io_tokens *tokens, const char *path, io_error *error);

/* A JSON list of strings or whole numbers; `name` is for the sentence. */
bool io_tokens_parse_json(io_tokens *tokens, const char *json, const char *name, io_error *error);

/* Adds one token, valid UTF-8 without control characters. */
bool io_tokens_append(io_tokens *tokens, const char *text, io_error *error);

/* Token i; "" where there is none. */
const char *io_token(const io_tokens *tokens, int64_t i);

void io_tokens_free(io_tokens *tokens);

/* Decodes one character of text at most `left` bytes long. Returns how many bytes it takes, 0 where
 * the text is not UTF-8 (overlong forms, surrogates and numbers past U+10FFFF included). */
size_t io_utf8_decode(const char *text, size_t left, uint32_t *character);

/* Replaces, in place, control characters and bytes that are not UTF-8 by '?'. */
void io_utf8_clean(char *text);

#endif
