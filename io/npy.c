#include "npy.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "npy files are mapped as they are: a big-endian machine would have to swap bytes");

/* NumPy itself refuses to parse more than 10000; the largest sensible header is some 120. */
enum { HEADER_MAX = 65536, HEADER_ALIGNMENT = 64 };

static const struct {
    const char *descr;
    attn_dtype dtype;
} descrs[] = {
    {"<f2", ATTN_F16}, {"<f4", ATTN_F32}, {"<f8", ATTN_F64}, {"|b1", ATTN_BOOL},
    {"|u1", ATTN_U8},  {"<i4", ATTN_I32}, {"<i8", ATTN_I64},
};
enum { DESCRS = sizeof descrs / sizeof descrs[0] };

/* The header is one Python dictionary literal. A cursor walks it; every read_* function skips
 * leading blanks and returns false, without a sentence, where its syntax is not there. */
typedef struct cursor {
    const char *at;
    const char *end;
} cursor;

static bool read_character(cursor *text, char wanted) {
    while (text->at < text->end && isspace((unsigned char)*text->at)) text->at++;
    if (text->at == text->end || *text->at != wanted) return false;
    text->at++;
    return true;
}

static bool read_string(cursor *text, char *value, size_t size) {
    const char quote = read_character(text, '\'') ? '\'' : '"';
    if (quote == '"' && !read_character(text, '"')) return false;
    const char *const closing = memchr(text->at, quote, (size_t)(text->end - text->at));
    if (!closing || (size_t)(closing - text->at) >= size) return false;
    memcpy(value, text->at, (size_t)(closing - text->at));
    value[closing - text->at] = 0;
    text->at = closing + 1;
    return true;
}

static bool read_word(cursor *text, const char *word) {
    const size_t length = strlen(word);
    cursor ahead = *text;
    if (!read_character(&ahead, word[0])) return false;
    if ((size_t)(ahead.end - ahead.at) < length - 1) return false;
    if (memcmp(ahead.at, word + 1, length - 1) != 0) return false;
    text->at = ahead.at + length - 1;
    return true;
}

static bool read_size(cursor *text, int64_t *value) {
    (void)read_character(text, ' '); /* skips the blanks */
    const char *const start = text->at;
    *value = 0;
    for (; text->at < text->end && isdigit((unsigned char)*text->at); text->at++) {
        const int digit = *text->at - '0';
        if (*value > (INT64_MAX - digit) / 10) return false;
        *value = *value * 10 + digit;
    }
    return text->at > start;
}

/* "(2, 3)", "(3,)", "()". */
static bool read_shape(cursor *text, io_array *array, const char *path, io_error *error) {
    bool more = true;
    if (!read_character(text, '(')) goto malformed;
    while (more && !read_character(text, ')')) {
        if (array->dims == 4) {
            return io_fail(error, "%s: has more than 4 dimensions: expected at most 4", path);
        }
        if (!read_size(text, &array->shape[array->dims++])) goto malformed;
        more = read_character(text, ',');
        if (!more && !read_character(text, ')')) goto malformed;
    }
    return true;
malformed:
    return io_fail(error, "%s: its header's shape is not a tuple of sizes like (3, 4)", path);
}

static bool read_descr(cursor *text, io_array *array, const char *path, io_error *error) {
    char descr[16] = "";
    if (!read_string(text, descr, sizeof descr)) {
        return io_fail(error,
                       "%s: holds records or an unknown type: expected one of '<f2', '<f4', "
                       "'<f8', '|b1', '|u1', '<i4' and '<i8'",
                       path);
    }
    for (size_t i = 0; i < DESCRS; i++) {
        if (strcmp(descr, descrs[i].descr) == 0) {
            array->dtype = descrs[i].dtype;
            return true;
        }
    }
    if (descr[0] == '>') {
        return io_fail(error,
                       "%s: is big endian ('%s'): expected little endian (save "
                       "array.astype(array.dtype.newbyteorder('<')))",
                       path, descr);
    }
    return io_fail(error,
                   "%s: holds elements of type '%s': expected one of '<f2', '<f4', '<f8', '|b1', "
                   "'|u1', '<i4' and '<i8'",
                   path, descr);
}

static bool read_order(cursor *text, bool *fortran_order, const char *path, io_error *error) {
    *fortran_order = read_word(text, "True");
    if (*fortran_order || read_word(text, "False")) return true;
    return io_fail(error, "%s: its header's fortran_order is neither True nor False", path);
}

enum { SEEN_DESCR = 1, SEEN_ORDER = 2, SEEN_SHAPE = 4, SEEN_ALL = 7 };

static bool read_entry(cursor *text, io_array *array, bool *fortran_order, unsigned *seen,
                       const char *path, io_error *error) {
    char key[32] = "";
    if (!read_string(text, key, sizeof key) || !read_character(text, ':')) {
        return io_fail(error,
                       "%s: its header is not a dictionary of descr, fortran_order and "
                       "shape",
                       path);
    }
    unsigned mark = 0;
    bool good = false;
    if (strcmp(key, "descr") == 0) {
        mark = SEEN_DESCR;
        good = read_descr(text, array, path, error);
    } else if (strcmp(key, "fortran_order") == 0) {
        mark = SEEN_ORDER;
        good = read_order(text, fortran_order, path, error);
    } else if (strcmp(key, "shape") == 0) {
        mark = SEEN_SHAPE;
        array->dims = 0;
        good = read_shape(text, array, path, error);
    } else {
        return io_fail(error, "%s: its header has an unknown entry '%s'", path, key);
    }
    *seen |= mark;
    return good;
}

static bool read_header(cursor text, io_array *array, size_t *bytes, const char *path,
                        io_error *error) {
    bool fortran_order = false;
    unsigned seen = 0;
    if (!read_character(&text, '{')) {
        return io_fail(error, "%s: its header is not a dictionary", path);
    }
    while (!read_character(&text, '}')) {
        if (!read_entry(&text, array, &fortran_order, &seen, path, error)) return false;
        if (!read_character(&text, ',') && !(text.at < text.end && *text.at == '}')) {
            return io_fail(error, "%s: its header is cut short or has a comma missing", path);
        }
    }
    if (seen != SEEN_ALL) {
        return io_fail(error, "%s: its header lacks descr, fortran_order or shape", path);
    }
    if (io_array_lay_out(array, fortran_order, bytes)) return true;
    return io_fail(error, "%s: its shape overflows: expected fewer than 2^63 bytes", path);
}

/* Finds the header's text and, after it, the data. */
static bool locate(const io_map *map, cursor *text, const char *path, io_error *error) {
    const unsigned char *const bytes = map->data;
    if (map->size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) {
        return io_fail(error, "%s: is not a .npy file (it does not start with \\x93NUMPY)", path);
    }
    const unsigned version = bytes[6];
    if (version < 1 || version > 3) {
        return io_fail(error, "%s: has .npy format version %u: expected 1, 2 or 3", path, version);
    }
    const size_t start = version == 1 ? 10 : 12;
    if (map->size < start) return io_fail(error, "%s: is cut short in its header", path);
    size_t length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (version > 1) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > HEADER_MAX) {
        return io_fail(error, "%s: its header says it is %zu bytes long: expected at most %d", path,
                       length, HEADER_MAX);
    }
    if (length > map->size - start) {
        return io_fail(error,
                       "%s: is cut short: its header says it is %zu bytes long, but the "
                       "file ends after %zu of them",
                       path, length, map->size - start);
    }
    *text =
        (cursor){.at = (const char *)bytes + start, .end = (const char *)bytes + start + length};
    return true;
}

static bool open_mapped(io_array *array, const char *path, io_error *error) {
    cursor text = {0};
    size_t wanted = 0;
    if (!locate(&array->map, &text, path, error)) return false;
    if (!read_header(text, array, &wanted, path, error)) return false;
    array->data = text.end;
    const size_t there = array->map.size - (size_t)(text.end - (const char *)array->map.data);
    if (there < wanted) {
        return io_fail(error,
                       "%s: is cut short: its shape needs %zu bytes of data, but %zu are "
                       "there",
                       path, wanted, there);
    }
    return io_array_align(array, wanted, path, error);
}

bool io_npy_open(io_array *array, const char *path, io_error *error) {
    *array = (io_array){0};
    if (!io_map_open(&array->map, path, error)) return false;
    if (open_mapped(array, path, error)) return true;
    io_array_close(array);
    return false;
}

static const char *descr_of(attn_dtype dtype) {
    size_t i = 0;
    while (descrs[i].dtype != dtype) i++;
    return descrs[i].descr;
}

/* Writes the header, padded with blanks so that the data starts at a multiple of 64 bytes. */
static size_t format_header(char *text, size_t size, const io_array *array) {
    char shape[128] = "";
    size_t used = 0;
    for (int i = 0; i < array->dims; i++) {
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%" PRId64 "%s",
                                 array->shape[i], i + 1 < array->dims ? ", " : "");
    }
    if (array->dims == 1) (void)snprintf(shape + used, sizeof shape - used, ",");
    const int length = snprintf(text, size,
                                "\x93NUMPY%c%c%c%c{'descr': '%s', 'fortran_order': False, "
                                "'shape': (%s), }",
                                1, 0, 0, 0, descr_of(array->dtype), shape);
    const size_t total = ((size_t)length + HEADER_ALIGNMENT) / HEADER_ALIGNMENT * HEADER_ALIGNMENT;
    memset(text + length, ' ', total - (size_t)length);
    text[total - 1] = '\n';
    text[6] = 1, text[7] = 0;
    text[8] = (char)((total - 10) & 0xff), text[9] = (char)((total - 10) >> 8);
    return total;
}

bool io_npy_create(io_target *target, const char *path, attn_dtype dtype, int dims,
                   const int64_t *shape, void **data, io_error *error) {
    char header[512];
    size_t bytes = 0;
    io_array array = {.dtype = dtype, .dims = dims};
    memcpy(array.shape, shape, (size_t)dims * sizeof *shape);
    const size_t start = format_header(header, sizeof header, &array);
    if (!io_array_lay_out(&array, false, &bytes) || bytes > (size_t)INT64_MAX - start) {
        return io_fail(error, "%s: would be larger than 2^63 bytes", path);
    }
    if (!io_target_open(target, path, error)) return false;
    if (!io_target_map(target, start + bytes, error)) {
        io_target_discard(target);
        return false;
    }
    memcpy(target->memory, header, start);
    *data = (char *)target->memory + start;
    return true;
}
