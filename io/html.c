#include "html.h"

#include "color.h"
#include "html_page.h"

#include <attn/attn.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char marker[] = "@data@";

/* ---------------------------------------------------------------------------------------------
 * Facts about all heads
 * ------------------------------------------------------------------------------------------- */

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

static json_t *hue_list(bool dark) {
    json_t *const list = json_array();
    for (int i = 0; i < IO_HUES; i++) {
        const io_color color = io_hue(i, dark);
        (void)json_array_append_new(
            list, json_sprintf("#%02x%02x%02x", color.red, color.green, color.blue));
    }
    return list;
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
    for (int64_t i = 0; i < page->head_count; i++) {
        (void)json_array_append_new(list, json_integer(page->heads[i]));
    }
    return list;
}

static json_t *bars_list(const io_html *page) {
    json_t *const list = json_array();
    for (int i = 0; i < page->bar_count; i++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:b}", "label", page->bars[i].label,
                                                    "of_keys", (int)page->bars[i].of_keys));
    }
    return list;
}

static json_t *name_list(const io_html *page) {
    json_t *const list = json_array();
    for (int i = 0; page->statistics && i < page->statistic_count; i++) {
        (void)json_array_append_new(list, json_string(page->statistic_names[i]));
    }
    return list;
}

/* JSON has no NaN: 0 then. */
static json_t *statistic_list(const io_html *page) {
    json_t *const list = json_array();
    const float *number = page->statistics;
    for (int64_t layer = 0; number && layer < page->layers->count; layer++) {
        json_t *const heads = json_array();
        for (int64_t head = 0; head < page->head_count; head++) {
            json_t *const numbers = json_array();
            for (int i = 0; i < page->statistic_count; i++, number++) {
                const double value = isfinite(*number) ? (double)*number : 0;
                (void)json_array_append_new(numbers, json_real(value));
            }
            (void)json_array_append_new(heads, numbers);
        }
        (void)json_array_append_new(list, heads);
    }
    return list;
}

static json_t *pack_page(const io_html *page) {
    json_t *const data =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "title", page->title,
                  "note", page->note, "kind", page->kind, "version", attn_version(), "queries",
                  (json_int_t)page->queries, "keys", (json_int_t)page->keys, "layers",
                  token_list(page->layers), "heads", head_list(page), "query_tokens",
                  token_list(page->query_tokens), "key_tokens", token_list(page->key_tokens));
    json_t *const views = json_pack(
        "{s:s, s:{s:I, s:I, s:I, s:I}, s:I, s:b, s:i, s:b, s:o, s:o, s:o}", "matrix", page->matrix,
        "blocks", "rows", (json_int_t)page->rows, "columns", (json_int_t)page->columns, "queries",
        (json_int_t)page->block_queries, "keys", (json_int_t)page->block_keys, "top",
        (json_int_t)page->top, "weighed", (int)page->weighed, "key_bytes",
        io_html_key_bytes(page->keys), "path", (int)page->path, "bars", bars_list(page),
        "statistic_names", name_list(page), "statistics", statistic_list(page));
    json_t *const colors =
        json_pack("{s:o, s:o, s:o, s:o}", "light", color_table(false), "dark", color_table(true),
                  "light_hues", hue_list(false), "dark_hues", hue_list(true));
    const bool good = data && views && colors && json_object_update(data, views) == 0 &&
                      json_object_update(data, colors) == 0;
    json_decref(views);
    json_decref(colors);
    if (good) return data;
    json_decref(data);
    return NULL;
}

/* Inside a <script> the text "</script" would end it, and "<!--" change how it is read: without
 * any "<" neither can appear. */
static void write_escaped(const char *json, FILE *stream) {
    for (; *json; json++) {
        if (*json == '<') (void)fputs("\\u003c", stream);
        else (void)fputc(*json, stream);
    }
}

bool io_html_begin(const io_html *page, io_target *target, io_error *error) {
    json_t *const data = pack_page(page);
    char *const text = data ? json_dumps(data, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    const size_t before = (size_t)(strstr(io_html_page, marker) - io_html_page);
    json_decref(data);
    if (!text) return io_fail(error, "%s: no memory for its labels", target->path);
    (void)fwrite(io_html_page, 1, before, target->stream);
    (void)fputs("<script id='data' type='application/json'>\n", target->stream);
    write_escaped(text, target->stream);
    (void)fputs("\n</script>", target->stream);
    free(text);
    return true;
}

bool io_html_end(io_target *target, io_error *error) {
    (void)fputs(strstr(io_html_page, marker) + strlen(marker), target->stream);
    return !ferror(target->stream) || io_fail(error, "%s: cannot be written", target->path);
}

/* ---------------------------------------------------------------------------------------------
 * Parts of a head
 * ------------------------------------------------------------------------------------------- */

/* RFC 4648. Three bytes make four characters; the last may be filled up with '='. */
static void write_base64(const unsigned char *bytes, size_t size, FILE *stream) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const unsigned group = (unsigned)bytes[i] << 16 |
                               (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0);
        const char four[] = {digits[group >> 18], digits[group >> 12 & 63],
                             left > 1 ? digits[group >> 6 & 63] : '=',
                             left > 2 ? digits[group & 63] : '='};
        (void)fwrite(four, 1, sizeof four, stream);
    }
}

static void write_part(io_target *target, const char *name, int64_t layer, int64_t head,
                       const void *bytes, size_t size) {
    (void)fprintf(target->stream, "\n<script type='text/plain' id='%s.%" PRId64 ".%" PRId64 "'>",
                  name, layer, head);
    write_base64(bytes, size, target->stream);
    (void)fputs("</script>", target->stream);
}

/* Lowest and highest, then the share of each number of the way between them, in steps that leave the
 * greatest integer for NaN. Infinities count as the nearer end. */
static void pack(const float *numbers, int64_t count, int bytes, unsigned char *packed) {
    float range[2] = {0, 0};
    const double steps = bytes == 1 ? 254 : 65534;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(numbers[i])) continue;
        range[0] = fminf(range[0], numbers[i]), range[1] = fmaxf(range[1], numbers[i]);
    }
    memcpy(packed, range, sizeof range);
    const double low = (double)range[0], span = (double)range[1] - low;
    for (int64_t i = 0; i < count; i++) {
        const double share = span > 0 ? ((double)numbers[i] - low) / span : 0;
        const double step = isnan(numbers[i]) ? steps + 1 : round(steps * fmin(fmax(share, 0), 1));
        const uint16_t value = (uint16_t)step;
        memcpy(packed + sizeof range + i * bytes, &value, (size_t)bytes); /* little endian: npy.c */
    }
}

bool io_html_numbers(io_target *target, const char *name, int64_t layer, int64_t head,
                     const float *numbers, int64_t count, int bytes, io_error *error) {
    if (bytes == 4) {
        write_part(target, name, layer, head, numbers, (size_t)count * sizeof *numbers);
        return true;
    }
    const size_t size = 2 * sizeof *numbers + (size_t)(count * bytes);
    unsigned char *const packed = calloc(1, size);
    if (!packed) return io_fail(error, "%s: no memory for %zu bytes", target->path, size);
    pack(numbers, count, bytes, packed);
    write_part(target, name, layer, head, packed, size);
    free(packed);
    return true;
}

int io_html_key_bytes(int64_t keys) {
    return keys <= UINT16_MAX ? 2 : 4;
}

bool io_html_keys(io_target *target, const char *name, int64_t layer, int64_t head,
                  const int64_t *keys, int64_t count, int bytes, io_error *error) {
    unsigned char *const packed = calloc((size_t)count + 1, (size_t)bytes);
    if (!packed) return io_fail(error, "%s: no memory for %" PRId64 " keys", target->path, count);
    for (int64_t i = 0; i < count; i++) {
        memcpy(packed + i * bytes, &keys[i], (size_t)bytes); /* -1: all bits */
    }
    write_part(target, name, layer, head, packed, (size_t)(count * bytes));
    free(packed);
    return true;
}
