/* test_lines.c: lines and pairs as they are in files, and what is said of those that are wrong. */
#define _GNU_SOURCE
#include "files.h"
#include "lines.h"

#include <stdlib.h>
#include <string.h>

#define WITH_SIZE(literal) (literal), sizeof(literal) - 1

static io_error error;

static void open_lines(text_lines *lines, const void *bytes, size_t size) {
    assert_true(text_lines_open(lines, file_of(bytes, size), &error));
}

static void expect_lines(const void *bytes, size_t size, const char *const *wanted) {
    text_lines lines;
    open_lines(&lines, bytes, size);
    for (int64_t number = 1; *wanted; wanted++, number++) {
        assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_LINE);
        assert_string_equal(lines.text, *wanted);
        assert_int_equal(lines.length, strlen(*wanted));
        assert_int_equal(lines.number, number);
    }
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_END);
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_END);
    text_lines_close(&lines);
}

static void ends_of_lines(void **state) {
    (void)state;
    expect_lines(WITH_SIZE(""), (const char *const[]){NULL});
    expect_lines(WITH_SIZE("\n"), (const char *const[]){"", NULL});
    expect_lines(WITH_SIZE("a"), (const char *const[]){"a", NULL});
    expect_lines(WITH_SIZE("a\nb"), (const char *const[]){"a", "b", NULL});
    expect_lines(WITH_SIZE("a\r\n\r\nb\r"), (const char *const[]){"a", "", "b", NULL});
    expect_lines(WITH_SIZE("a\rb\r\r\n"), (const char *const[]){"a\rb\r", NULL});
    expect_lines(WITH_SIZE("\xef\xbb\xbfé\n\xef\xbb\xbf\n"),
                 (const char *const[]){"é", "\xef\xbb\xbf", NULL});
    expect_lines(WITH_SIZE("\xef\xbb\xbf"), (const char *const[]){"", NULL});
}

/* Python: gzip.compress("un\tone\ndeux\ttwo\n".encode(), 9, mtime=0) */
static const char compressed[] =
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\xcd\xe3\xcc\xcf\x4b\xe5"
    "\x4a\x49\x2d\xad\xe0\x2c\x29\xcf\xe7\x02\x00\x0c\x26\x38\xec\x10"
    "\x00\x00\x00";

static void gzip(void **state) {
    text_lines lines;
    (void)state;
    expect_lines(WITH_SIZE(compressed), (const char *const[]){"un\tone", "deux\ttwo", NULL});
    for (size_t size = 10; size < sizeof compressed - 1; size++) { /* 10: the gzip header */
        text_read got = TEXT_READ_LINE;
        open_lines(&lines, compressed, size);
        while (got == TEXT_READ_LINE) got = text_lines_next(&lines, &error);
        assert_int_equal(got, TEXT_READ_FAILED);
        assert_says(error.text, "is not whole as gzip made it");
        assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_END);
        text_lines_close(&lines);
    }
    char broken[sizeof compressed];
    memcpy(broken, compressed, sizeof broken);
    broken[sizeof broken - 9] ^= 1; /* in the checksum */
    text_pairs pairs;
    assert_false(text_pairs_read(&pairs, file_of(broken, sizeof broken - 1), &error));
    assert_says(error.text, "is not whole as gzip made it");
}

/* The bad line is refused; the next one is read. */
static void expect_refusal(const void *bytes, size_t size, size_t limit, const char *part) {
    text_lines lines;
    open_lines(&lines, bytes, size);
    if (limit) lines.limit = limit;
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_LINE);
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_FAILED);
    assert_says(error.text, "/proc/self/fd/");
    assert_says(error.text, part);
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_LINE);
    assert_string_equal(lines.text, "good");
    assert_int_equal(lines.number, 3);
    text_lines_close(&lines);
}

static void refusals(void **state) {
    (void)state;
    expect_refusal(WITH_SIZE("a\nb\xe9\ngood"), 0, "line 2 is not UTF-8: byte 2 is 0xe9");
    expect_refusal(WITH_SIZE("a\nb\0c\ngood"), 0, "line 2 has a NUL at byte 2");
    expect_refusal(WITH_SIZE("a\n12345\ngood"), 4, "line 2 is 5 bytes long: expected at most 4");
    expect_refusal(WITH_SIZE("a\n1234567890\r\ngood"), 4, "line 2 is 11 bytes long");
}

/* The limit is what is said, with any end of line. */
static void the_limit(void **state) {
    const size_t limit = TEXT_LINE_LIMIT;
    char *const text = malloc(limit + 8);
    text_lines lines;
    (void)state;
    assert_non_null(text);
    memset(text, 'x', limit + 8);
    memcpy(text + limit, "\r\n", 2);
    open_lines(&lines, text, limit + 2);
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_LINE);
    assert_int_equal(lines.length, limit);
    text_lines_close(&lines);
    memcpy(text + limit, "x\n", 2);
    open_lines(&lines, text, limit + 2);
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_FAILED);
    assert_says(error.text, "line 1 is 1048577 bytes long: expected at most 1048576");
    text_lines_close(&lines);
    free(text);
}

static void streams(void **state) {
    char bytes[] = "one\ntwo";
    FILE *const stream = fmemopen(bytes, sizeof bytes - 1, "r");
    text_lines lines;
    (void)state;
    assert_non_null(stream);
    text_lines_from(&lines, stream, "standard input");
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_LINE);
    assert_string_equal(lines.text, "one");
    assert_int_equal(ftell(stream), 4); /* and nothing of the next line was waited for */
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_LINE);
    assert_int_equal(text_lines_next(&lines, &error), TEXT_READ_END);
    text_lines_close(&lines);
    assert_int_equal(fclose(stream), 0);
}

static void files_that_are_none(void **state) {
    text_lines lines;
    text_pairs pairs;
    (void)state;
    assert_false(text_lines_open(&lines, "no/such/file", &error));
    assert_says(error.text, "no/such/file: No such file or directory");
    assert_false(text_pairs_read(&pairs, ".", &error));
    assert_says(error.text, ".: could not be read: Is a directory");
}

static void pairs_of_sentences(void **state) {
    static const char bytes[] = "un\tone\r\ndeux\ttwo\tCC-BY\tx\n trois \tthree\t\n";
    text_pairs pairs;
    (void)state;
    assert_true(text_pairs_read(&pairs, file_of(WITH_SIZE(bytes)), &error));
    assert_int_equal(pairs.count, 3);
    assert_string_equal(pairs.source[0], "un");
    assert_string_equal(pairs.target[0], "one");
    assert_null(pairs.rest[0]);
    assert_string_equal(pairs.target[1], "two");
    assert_string_equal(pairs.rest[1], "CC-BY\tx");
    assert_string_equal(pairs.source[2], " trois ");
    assert_string_equal(pairs.rest[2], "");
    assert_int_equal(pairs.line[2], 3);
    text_pairs_free(&pairs);
    text_pairs_free(&pairs);
}

/* Enough for every buffer to grow and move. */
static void many_pairs(void **state) {
    enum { PAIRS = 5000 };
    char *const text = malloc(PAIRS * 32), wanted[16];
    size_t size = 0;
    text_pairs pairs;
    (void)state;
    assert_non_null(text);
    for (int i = 0; i < PAIRS; i++) size += (size_t)sprintf(text + size, "s%d\tt%d\n", i, 2 * i);
    assert_true(text_pairs_read(&pairs, file_of(text, size), &error));
    assert_int_equal(pairs.count, PAIRS);
    for (int i = 0; i < PAIRS; i++) {
        (void)sprintf(wanted, "s%d", i);
        assert_string_equal(pairs.source[i], wanted);
        (void)sprintf(wanted, "t%d", 2 * i);
        assert_string_equal(pairs.target[i], wanted);
        assert_int_equal(pairs.line[i], i + 1);
    }
    text_pairs_free(&pairs);
    free(text);
}

static void wrong_pairs(void **state) {
    static const struct {
        const char *bytes, *part;
    } cases[] = {
        {"", "has no lines: expected pairs"},
        {"a\tb\nc\n", "line 2 has one column: expected a sentence, a tab and its counterpart"},
        {"a\tb\n\nc\td\n", "line 2 is empty: expected a sentence, a tab"},
        {"a\tb\n\tc\n", "line 2: its source (column 1) is empty"},
        {"a\tb\na\t \xc2\xa0\n", "line 2: its target (column 2) is empty"},
        {"a\t\tb\n", "line 1: its target (column 2) is empty"},
    };
    text_pairs pairs;
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const path = file_of(cases[i].bytes, strlen(cases[i].bytes));
        assert_false(text_pairs_read(&pairs, path, &error));
        assert_says(error.text, cases[i].part);
        assert_null(pairs.block);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_of_lines),
        cmocka_unit_test(gzip),
        cmocka_unit_test(refusals),
        cmocka_unit_test(the_limit),
        cmocka_unit_test(streams),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(pairs_of_sentences),
        cmocka_unit_test(many_pairs),
        cmocka_unit_test(wrong_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
