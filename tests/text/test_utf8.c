/* test_utf8.c: characters, against the tables of the standard that they come from. */
#include "files.h"
#include "utf8.h"

#include <string.h>

/* Every scalar value is written and read back, and its length is what RFC 3629 says. */
static void all_characters(void **state) {
    (void)state;
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        if (c >= 0xd800 && c <= 0xdfff) continue;
        char bytes[5] = {0};
        const size_t length = text_utf8_encode(c, bytes);
        const char *at = bytes;
        assert_int_equal(length, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        assert_int_equal(strlen(bytes), length);
        assert_int_equal(text_utf8_valid(bytes, length), length);
        assert_int_equal(text_utf8_valid(bytes, length - 1), 0);
        assert_int_equal(text_utf8_next(&at), c);
        assert_ptr_equal(at, bytes + length);
    }
}

/* The forms that RFC 3629, section 10, warns of. */
static void invalid(void **state) {
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x9f\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xfe",
        "\xff",
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xc3(",
        "\xe2(\xa1",
        "\xf0\x9f(\x80",
        "\xe2\x82(",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char text[16] = "ab";
        strcat(text, bad[i]);
        if (text_utf8_valid(text, strlen(text)) != 2) fail_msg("sequence %zu is taken", i);
    }
    assert_int_equal(text_utf8_valid("", 0), 0);
}

static void decoding(void **state) {
    const char text[] = "aé€😀";
    static const uint32_t wanted[] = {'a', 0xe9, 0x20ac, 0x1f600};
    uint32_t characters[sizeof text];
    (void)state;
    assert_int_equal(text_utf8_decode(text, sizeof text - 1, characters), 4);
    assert_memory_equal(characters, wanted, sizeof wanted);
}

/* All for which str.isspace of Python 3.11 holds. */
static void white_space(void **state) {
    static const uint32_t spaces[] = {
        0x09,   0x0a,   0x0b,   0x0c,   0x0d,   0x1c,   0x1d,   0x1e,   0x1f,   0x20,
        0x85,   0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006,
        0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000,
    };
    size_t found = 0;
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        const bool wanted = found < COUNT(spaces) && spaces[found] == c;
        if (text_is_space(c) != wanted) fail_msg("U+%04X", (unsigned)c);
        found += wanted;
    }
    assert_true(text_is_blank("") && text_is_blank(" \t\xc2\xa0\xe3\x80\x80"));
    assert_false(text_is_blank(" \xe2\x80\x8b")); /* U+200B, zero width, is no white space */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_characters),
        cmocka_unit_test(invalid),
        cmocka_unit_test(decoding),
        cmocka_unit_test(white_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
