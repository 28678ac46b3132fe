#include "words.h"

#include "utf8.h"

#include <stdlib.h>
#include <string.h>

static bool is_blank(uint32_t c) {
    return c == ' ' || c == '\t' || c == 0xA0 || c == 0x202F;
}

static bool is_letter(uint32_t c) {
    if (c < 0x80) return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    if (c < 0xC0) return c == 0xAA || c == 0xB5 || c == 0xBA;
    return c != 0xD7 && c != 0xF7 && !(c >= 0x2000 && c <= 0x206F) && !(c >= 0x3000 && c <= 0x303F);
}

static bool is_apostrophe(uint32_t c) {
    return c == '\'' || c == 0x2019;
}

/* at[b]: the word that the character at byte b belongs to; that of the next one for blanks. */
static int32_t cut(const char *sentence, int32_t *at) {
    int32_t words = 0;
    bool open = false; /* may the next letter join word `words - 1`? */
    for (const char *next = sentence; *next;) {
        const char *const here = next;
        const uint32_t c = text_utf8_next(&next);
        const bool letter = is_letter(c), blank = is_blank(c);
        const bool joins = open && (letter || is_apostrophe(c));
        if (!joins && !blank) words++;
        for (const char *b = here; b < next; b++) at[b - sentence] = blank ? words : words - 1;
        open = letter;
    }
    return words;
}

int64_t text_words_of_pieces(const text_pieces *pieces, const char *sentence, int32_t *word) {
    const size_t length = strlen(sentence);
    int32_t *const at = calloc(length + 1, sizeof *at);
    if (at == NULL) return -1;
    const int32_t words = cut(sentence, at);
    for (int64_t i = 0; i < pieces->count; i++) {
        const int32_t b = pieces->begin[i];
        /* A piece's blank comes before its letters, and so does the word of a blank. */
        int32_t in = (size_t)b < length ? at[b] : words - 1;
        if (in > words - 1) in = words - 1;
        word[i] = in < 0 ? 0 : in;
    }
    free(at);
    return words;
}
