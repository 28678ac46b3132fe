/* Any bytes as a file of pairs, and as one that gzip made: refused with a sentence, or pairs of valid
 * text. What is more, both ways of reading find the same. */
#include "files.h"
#include "lines.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void touch(const char *text) {
    if (text_utf8_valid(text, strlen(text)) != strlen(text)) abort();
    while (*text) (void)text_is_space(text_utf8_next(&text));
}

/* Pairs again, a line at a time, until one is refused. */
static int64_t count_pairs(const char *path) {
    const char *source = NULL, *target = NULL, *rest = NULL;
    text_lines lines;
    io_error error = {0};
    int64_t count = 0;
    text_read got = TEXT_READ_END;
    if (!text_lines_open(&lines, path, &error)) abort();
    while ((got = text_lines_next(&lines, &error)) == TEXT_READ_LINE) {
        if (!text_lines_pair(&lines, &source, &target, &rest, &error)) break;
        count++;
    }
    text_lines_close(&lines);
    if (got != TEXT_READ_END || count == 0) return -1;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const char *const path = fuzz_file(bytes, size);
    const int64_t count = count_pairs(path);
    text_pairs pairs;
    io_error error = {0};
    if (text_pairs_read(&pairs, path, &error)) {
        if (pairs.count != count) abort();
        for (int64_t i = 0; i < pairs.count; i++) {
            touch(pairs.source[i]);
            touch(pairs.target[i]);
            if (pairs.rest[i]) touch(pairs.rest[i]);
        }
        text_pairs_free(&pairs);
    } else {
        if (count != -1) abort();
        fuzz_refused(&error);
    }
    return 0;
}
