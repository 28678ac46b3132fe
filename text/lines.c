#define _GNU_SOURCE
#include "lines.h"

#include "utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { READ_AHEAD = 1 << 16 };

bool text_lines_open(text_lines *lines, const char *path, io_error *error) {
    errno = 0;
    const gzFile file = gzopen(path, "rbe");
    *lines = (text_lines){.name = path, .limit = TEXT_LINE_LIMIT, .file = file};
    if (!file) return io_fail(error, "%s: %s", path, errno ? strerror(errno) : "no memory");
    (void)gzbuffer(file, READ_AHEAD);
    return true;
}

void text_lines_from(text_lines *lines, FILE *stream, const char *name) {
    *lines = (text_lines){.name = name, .limit = TEXT_LINE_LIMIT, .stream = stream};
}

void text_lines_close(text_lines *lines) {
    if (lines->file) (void)gzclose_r(lines->file);
    free(lines->text);
    *lines = (text_lines){0};
}

/* The next byte, or EOF. */
static int next_byte(text_lines *lines) {
    if (lines->stream) return getc_unlocked(lines->stream);
    return gzgetc((gzFile)lines->file);
}

/* Whether EOF was the end of a sound file. */
static bool ended_well(text_lines *lines, io_error *error) {
    lines->ended = true;
    if (lines->stream) {
        if (!ferror(lines->stream)) return true;
        return io_fail(error, "%s: could not be read: %s", lines->name, strerror(errno));
    }
    int code = Z_OK;
    const int number = errno;
    const char *const why = gzerror(lines->file, &code);
    if (code == Z_OK || code == Z_STREAM_END) return true;
    if (code == Z_ERRNO) {
        return io_fail(error, "%s: could not be read: %s", lines->name, strerror(number));
    }
    return io_fail(error, "%s: is not whole as gzip made it, after line %" PRId64 ": %s",
                   lines->name, lines->number - 1, why);
}

/* Room for `length` bytes and a NUL. */
static bool reserve(text_lines *lines, size_t length, io_error *error) {
    if (length < lines->capacity) return true;
    const size_t capacity = lines->capacity ? lines->capacity * 2 : 256;
    char *const longer = realloc(lines->text, capacity);
    if (!longer)
        return io_fail(error, "%s: no memory for line %" PRId64, lines->name, lines->number);
    lines->text = longer;
    lines->capacity = capacity;
    return true;
}

/* Reads up to the end of the line; of one that is too long it keeps the start. Its length, wherever
 * it ends, is in *whole, and whether anything was there (if only a newline) in *any. */
static bool fetch(text_lines *lines, size_t *whole, bool *any, io_error *error) {
    size_t length = 0;
    int byte = 0;
    while ((byte = next_byte(lines)) != EOF && byte != '\n') {
        if (length <= lines->limit) { /* one byte more than the limit, which may be a CR */
            if (!reserve(lines, length, error)) return false;
            lines->text[length] = (char)byte;
        }
        length++;
    }
    *any = length > 0 || byte == '\n';
    *whole = length;
    lines->length = length <= lines->limit ? length : lines->limit + 1;
    if (byte == EOF && !ended_well(lines, error)) return false;
    return reserve(lines, lines->length, error);
}

static bool check(const text_lines *lines, size_t whole, io_error *error) {
    if (whole > lines->limit) {
        return io_fail(error, "%s: line %" PRId64 " is %zu bytes long: expected at most %zu",
                       lines->name, lines->number, whole, lines->limit);
    }
    const char *const nul = memchr(lines->text, 0, lines->length);
    if (nul) {
        return io_fail(error, "%s: line %" PRId64 " has a NUL at byte %td: expected text",
                       lines->name, lines->number, nul - lines->text + 1);
    }
    const size_t valid = text_utf8_valid(lines->text, lines->length);
    if (valid == lines->length) return true;
    return io_fail(error, "%s: line %" PRId64 " is not UTF-8: byte %zu is 0x%02x", lines->name,
                   lines->number, valid + 1, (unsigned char)lines->text[valid]);
}

/* A byte order mark says nothing about UTF-8, but some editors write one. */
static void drop_mark(text_lines *lines) {
    if (lines->number > 1 || lines->length < 3) return;
    if (memcmp(lines->text, "\xef\xbb\xbf", 3) != 0) return;
    lines->length -= 3;
    memmove(lines->text, lines->text + 3, lines->length);
}

text_read text_lines_next(text_lines *lines, io_error *error) {
    size_t whole = 0;
    bool any = false;
    if (lines->ended) return TEXT_READ_END;
    lines->number++;
    if (!fetch(lines, &whole, &any, error)) {
        lines->ended = true;
        return TEXT_READ_FAILED;
    }
    if (!any) return lines->number--, TEXT_READ_END;
    if (whole == lines->length && whole > 0 && lines->text[whole - 1] == '\r') {
        lines->length = --whole;
    }
    if (!check(lines, whole, error)) return TEXT_READ_FAILED;
    drop_mark(lines);
    lines->text[lines->length] = 0;
    return TEXT_READ_LINE;
}

bool text_lines_pair(text_lines *lines, const char **source, const char **target, const char **rest,
                     io_error *error) {
    char *const first = strchr(lines->text, '\t');
    if (!first) {
        return io_fail(
            error, "%s: line %" PRId64 " %s: expected a sentence, a tab and its counterpart",
            lines->name, lines->number, text_is_blank(lines->text) ? "is empty" : "has one column");
    }
    char *const second = strchr(first + 1, '\t');
    *first = 0;
    if (second) *second = 0;
    *source = lines->text;
    *target = first + 1;
    *rest = second ? second + 1 : NULL;
    const char *const empty = text_is_blank(*source)   ? "source (column 1)"
                              : text_is_blank(*target) ? "target (column 2)"
                                                       : NULL;
    if (!empty) return true;
    return io_fail(error, "%s: line %" PRId64 ": its %s is empty: expected a sentence", lines->name,
                   lines->number, empty);
}

/* A growing copy of the lines, and where each pair lies in it: the copy moves as it grows. */
typedef struct place {
    size_t source, target, rest; /* rest: 0 where there is none */
    int64_t line;
} place;

typedef struct pile {
    char *text;
    place *places;
    size_t size, text_capacity, count, place_capacity;
} pile;

static bool grow(void **memory, size_t *capacity, size_t wanted, size_t element) {
    if (*memory && wanted <= *capacity) return true;
    const size_t larger = wanted > *capacity * 2 ? wanted : *capacity * 2;
    void *const moved = larger <= SIZE_MAX / element ? realloc(*memory, larger * element) : NULL;
    if (!moved) return false;
    *memory = moved;
    *capacity = larger;
    return true;
}

/* The line as text_lines_pair cut it: its NULs are copied with it. */
static bool add(pile *all, const text_lines *lines, const char *target, const char *rest) {
    const size_t bytes = lines->length + 1;
    void *text = all->text, *places = all->places;
    const bool room = grow(&text, &all->text_capacity, all->size + bytes, 1) &&
                      grow(&places, &all->place_capacity, all->count + 1, sizeof(place));
    all->text = text;
    all->places = places;
    if (!room) return false;
    memcpy(all->text + all->size, lines->text, bytes);
    all->places[all->count++] = (place){
        .source = all->size,
        .target = all->size + (size_t)(target - lines->text),
        .rest = rest ? all->size + (size_t)(rest - lines->text) : 0,
        .line = lines->number,
    };
    all->size += bytes;
    return true;
}

static bool read_all(pile *all, text_lines *lines, io_error *error) {
    text_read got = TEXT_READ_END;
    while ((got = text_lines_next(lines, error)) == TEXT_READ_LINE) {
        const char *source = NULL, *target = NULL, *rest = NULL;
        if (!text_lines_pair(lines, &source, &target, &rest, error)) return false;
        if (!add(all, lines, target, rest)) {
            return io_fail(error, "%s: no memory for its %zu pairs", lines->name, all->count + 1);
        }
    }
    if (got == TEXT_READ_FAILED) return false;
    return all->count > 0 || io_fail(error, "%s: has no lines: expected pairs", lines->name);
}

/* One block: the three lists, the numbers of lines, the text. */
static bool settle(text_pairs *pairs, const pile *all, const char *name, io_error *error) {
    const size_t count = all->count;
    const size_t head = count * (3 * sizeof(char *) + sizeof(int64_t));
    char *const block = malloc(head + all->size);
    if (!block) return io_fail(error, "%s: no memory for its %zu pairs", name, count);
    char *const text = block + head;
    *pairs = (text_pairs){.count = (int64_t)count, .block = block};
    pairs->line = (int64_t *)(void *)block;
    pairs->source = (const char **)(void *)(pairs->line + count);
    pairs->target = pairs->source + count;
    pairs->rest = pairs->target + count;
    memcpy(text, all->text, all->size);
    for (size_t i = 0; i < count; i++) {
        const place *const p = &all->places[i];
        pairs->line[i] = p->line;
        pairs->source[i] = text + p->source;
        pairs->target[i] = text + p->target;
        pairs->rest[i] = p->rest ? text + p->rest : NULL;
    }
    return true;
}

bool text_pairs_read(text_pairs *pairs, const char *path, io_error *error) {
    text_lines lines;
    pile all = {0};
    *pairs = (text_pairs){0};
    if (!text_lines_open(&lines, path, error)) return false;
    const bool good = read_all(&all, &lines, error) && settle(pairs, &all, path, error);
    text_lines_close(&lines);
    free(all.text);
    free(all.places);
    return good;
}

void text_pairs_free(text_pairs *pairs) {
    free(pairs->block);
    *pairs = (text_pairs){0};
}
