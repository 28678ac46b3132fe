#include "utf8.h"

#include "tokens.h"

#include <string.h>

size_t text_utf8_valid(const char *text, size_t size) {
    uint32_t character = 0;
    size_t at = 0;
    while (at < size) {
        const size_t step =
            (unsigned char)text[at] < 0x80 ? 1 : io_utf8_decode(text + at, size - at, &character);
        if (step == 0) break;
        at += step;
    }
    return at;
}

uint32_t text_utf8_next(const char **text) {
    const unsigned char *const bytes = (const unsigned char *)*text;
    const uint32_t first = bytes[0];
    if (first < 0x80) return *text += 1, first;
    if (first < 0xe0) return *text += 2, (first & 0x1fu) << 6 | (bytes[1] & 0x3fu);
    if (first < 0xf0) {
        *text += 3;
        return (first & 0x0fu) << 12 | (bytes[1] & 0x3fu) << 6 | (bytes[2] & 0x3fu);
    }
    *text += 4;
    return (first & 0x07u) << 18 | (bytes[1] & 0x3fu) << 12 | (bytes[2] & 0x3fu) << 6 |
           (bytes[3] & 0x3fu);
}

size_t text_utf8_encode(uint32_t character, char *bytes) {
    static const unsigned char leads[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    const size_t length = character < 0x80      ? 1
                          : character < 0x800   ? 2
                          : character < 0x10000 ? 3
                                                : 4;
    for (size_t i = length - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    bytes[0] = (char)(leads[length] | character);
    return length;
}

size_t text_utf8_decode(const char *text, size_t size, uint32_t *characters) {
    const char *const end = text + size;
    size_t count = 0;
    while (text < end) characters[count++] = text_utf8_next(&text);
    return count;
}

bool text_is_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool text_is_blank(const char *text) {
    while (*text) {
        if (!text_is_space(text_utf8_next(&text))) return false;
    }
    return true;
}
