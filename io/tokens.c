#include "tokens.h"

#include "map.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t io_utf8_decode(const char *text, size_t left, uint32_t *character) {
    static const struct {
        unsigned char mask, lead;
        uint32_t smallest;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    const unsigned char *const bytes = (const unsigned char *)text;
    for (size_t length = 1; length <= 4 && length <= left; length++) {
        if ((bytes[0] & forms[length - 1].mask) != forms[length - 1].lead) continue;
        uint32_t value = bytes[0] & (unsigned char)~forms[length - 1].mask;
        for (size_t i = 1; i < length; i++) {
            if ((bytes[i] & 0xc0) != 0x80) return 0;
            value = value << 6 | (bytes[i] & 0x3f);
        }
        const bool surrogate = value >= 0xd800 && value <= 0xdfff;
        if (value < forms[length - 1].smallest || value > 0x10ffff || surrogate) return 0;
        *character = value;
        return length;
    }
    return 0;
}

/* C0, DEL, C1: they would move a terminal's cursor, change its colours, or worse. */
static bool is_control(uint32_t character) {
    return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

void io_utf8_clean(char *text) {
    char *to = text;
    size_t left = strlen(text);
    while (left > 0) {
        uint32_t character = 0;
        const size_t length = io_utf8_decode(text, left, &character);
        const bool good = length > 0 && !is_control(character);
        memmove(to, good ? text : "?", good ? length : 1);
        to += good ? length : 1;
        text += length > 0 ? length : 1;
        left -= length > 0 ? length : 1;
    }
    *to = 0;
}

static bool is_utf8(const char *text, size_t length) {
    uint32_t character = 0;
    for (size_t at = 0, step = 0; at < length; at += step) {
        step = io_utf8_decode(text + at, length - at, &character);
        if (step == 0) return false;
    }
    return true;
}

static bool allocate(io_tokens *tokens, size_t count, const char *name, io_error *error) {
    tokens->text = calloc(count > 0 ? count : 1, sizeof *tokens->text);
    return tokens->text || io_fail(error, "%s: no memory for %zu tokens", name, count);
}

static bool append(io_tokens *tokens, const char *text, size_t length, const char *name,
                   io_error *error) {
    if (!is_utf8(text, length)) {
        return io_fail(error, "%s: token %" PRId64 " is not UTF-8 text", name, tokens->count + 1);
    }
    char *const copy = malloc(length + 1);
    if (!copy) return io_fail(error, "%s: no memory for its tokens", name);
    memcpy(copy, text, length);
    copy[length] = 0;
    io_utf8_clean(copy); /* stops at a NUL, as everything that shows it would */
    tokens->text[tokens->count++] = copy;
    return true;
}

static bool split_lines(io_tokens *tokens, const char *text, size_t size, const char *path,
                        io_error *error) {
    size_t lines = 1;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    if (!allocate(tokens, lines, path, error)) return false;
    for (size_t at = 0; at < size;) {
        const char *const newline = memchr(text + at, '\n', size - at);
        const size_t length = newline ? (size_t)(newline - text) - at : size - at;
        const bool windows = length > 0 && text[at + length - 1] == '\r';
        if (!append(tokens, text + at, length - windows, path, error)) return false;
        at += length + 1;
    }
    return true;
}

bool io_tokens_read_lines(io_tokens *tokens, const char *path, io_error *error) {
    io_map map;
    *tokens = (io_tokens){0};
    if (!io_map_open(&map, path, error)) return false;
    const bool read = split_lines(tokens, (const char *)map.data, map.size, path, error);
    io_map_close(&map);
    if (!read) io_tokens_free(tokens);
    return read;
}

static bool append_item(io_tokens *tokens, const json_t *item, const char *name, io_error *error) {
    char digits[32];
    if (json_is_string(item)) {
        return append(tokens, json_string_value(item), json_string_length(item), name, error);
    }
    if (!json_is_integer(item)) {
        return io_fail(error, "%s: item %" PRId64 " is neither a string nor a whole number", name,
                       tokens->count + 1);
    }
    (void)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(item));
    return append(tokens, digits, strlen(digits), name, error);
}

static bool copy_list(io_tokens *tokens, const json_t *list, const char *name, io_error *error) {
    size_t i = 0;
    const json_t *item = NULL;
    if (!json_is_array(list)) return io_fail(error, "%s: expected a JSON list of strings", name);
    if (!allocate(tokens, json_array_size(list), name, error)) return false;
    json_array_foreach(list, i, item) {
        if (!append_item(tokens, item, name, error)) return false;
    }
    return true;
}

bool io_tokens_parse_json(io_tokens *tokens, const char *json, const char *name, io_error *error) {
    json_error_t problem;
    json_t *const list = json_loads(json, JSON_ALLOW_NUL, &problem);
    *tokens = (io_tokens){0};
    if (!list) return io_fail(error, "%s: is not JSON: %s", name, problem.text);
    const bool copied = copy_list(tokens, list, name, error);
    json_decref(list);
    if (!copied) io_tokens_free(tokens);
    return copied;
}

bool io_tokens_append(io_tokens *tokens, const char *text, io_error *error) {
    char *const copy = strdup(text);
    char **const longer =
        copy ? realloc(tokens->text, (size_t)(tokens->count + 1) * sizeof *longer) : NULL;
    if (!longer) {
        free(copy);
        return io_fail(error, "no memory for names");
    }
    tokens->text = longer;
    tokens->text[tokens->count++] = copy;
    return true;
}

const char *io_token(const io_tokens *tokens, int64_t i) {
    return i < tokens->count ? tokens->text[i] : "";
}

void io_tokens_free(io_tokens *tokens) {
    for (int64_t i = 0; i < tokens->count; i++) free(tokens->text[i]);
    free(tokens->text);
    *tokens = (io_tokens){0};
}
