/* utf8.h: characters of UTF-8 text.
 *
 * Text is checked once, where it is read (lines.h); what is below then takes it as valid.
 */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes from the start are valid UTF-8: `size` if all are. Overlong forms, surrogates and
 * numbers past U+10FFFF are not. */
size_t text_utf8_valid(const char *text, size_t size);

/* The character at *text, which moves behind it. The text must be valid and not at its end. */
uint32_t text_utf8_next(const char **text);

/* Writes the character's UTF-8, at most 4 bytes and no NUL after them; returns how many. */
size_t text_utf8_encode(uint32_t character, char *bytes);

/* Decodes valid text of `size` bytes into at most `size` characters; returns how many. */
size_t text_utf8_decode(const char *text, size_t size, uint32_t *characters);

/* What Python's str.isspace, str.split and \s take for white space: category Zs, and the
 * characters whose direction is WS, B or S. Unlike Unicode's White_Space, U+001C to U+001F are. */
bool text_is_space(uint32_t character);

/* Whether valid text has no character but white space. */
bool text_is_blank(const char *text);

#endif
