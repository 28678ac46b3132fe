#include "html.h"

#include "color.h"
#include "html_page.h"

#include <attn/attn.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void write_lines(const char *const *lines, FILE *stream) {
    for (; *lines; lines++) (void)fputs(*lines, stream);
}

/* 256 colours of six hexadecimal digits each. */
static json_t *color_table(bool dark) {
    char text[256 * 6 + 1];
    for (int i = 0; i < 256; i++) {
        const io_color color = io_color_of(i / 255.0, dark);
        (void)snprintf(text + (ptrdiff_t)6 * i, 7, "%02x%02x%02x", color.red, color.green,
                       color.blue);
    }
    return json_string(text);
}

static json_t *token_list(const io_tokens *tokens) {
    json_t *const list = json_array();
    for (int64_t i = 0; i < tokens->count; i++) {
        (void)json_array_append_new(list, json_string(tokens->text[i]));
    }
    return list;
}

static json_t *head_list(const io_html *page) {
    json_t *const list = json_array();
    for (int64_t i = 0; i < page->heads; i++) {
        (void)json_array_append_new(list, json_integer(page->first_head + i));
    }
    return list;
}

/* Inside a <script> the text "</script" would end it, and "<!--" change how it is read: without
 * any "<" neither can appear. */
static void write_escaped(const char *json, size_t length, FILE *stream) {
    for (size_t i = 0; i < length; i++) {
        if (json[i] == '<') (void)fputs("\\u003c", stream);
        else (void)fputc(json[i], stream);
    }
}

bool io_html_begin(const io_html *page, io_target *target, io_error *error) {
    json_t *const data = json_pack(
        "{s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "title", page->title, "version",
        attn_version(), "queries", (json_int_t)page->queries, "keys", (json_int_t)page->keys,
        "batches", token_list(page->batches), "heads", head_list(page), "query_tokens",
        token_list(page->query_tokens), "key_tokens", token_list(page->key_tokens), "light",
        color_table(false), "dark", color_table(true));
    char *const text = data ? json_dumps(data, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(data);
    if (!text) return io_fail(error, "%s: no memory for its labels", target->path);
    write_lines(io_html_before, target->stream);
    write_escaped(text, strlen(text) - 1, target->stream); /* without the closing brace */
    (void)fputs(",\"weights\":[", target->stream);
    free(text);
    return true;
}

/* RFC 4648. Three bytes make four characters; the last may be filled up with '='. */
static void write_base64(const unsigned char *bytes, size_t size, FILE *stream) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const unsigned group = (unsigned)bytes[i] << 16 |
                               (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0);
        (void)fputc(digits[group >> 18], stream);
        (void)fputc(digits[group >> 12 & 63], stream);
        (void)fputc(left > 1 ? digits[group >> 6 & 63] : '=', stream);
        (void)fputc(left > 2 ? digits[group & 63] : '=', stream);
    }
}

void io_html_head(const float *weights, int64_t count, bool first, io_target *target) {
    (void)fputs(first ? "\"" : ",\n\"", target->stream);
    write_base64((const unsigned char *)weights, (size_t)count * sizeof *weights, target->stream);
    (void)fputc('"', target->stream);
}

void io_html_end(io_target *target) {
    (void)fputs("]}\n", target->stream);
    write_lines(io_html_after, target->stream);
}
