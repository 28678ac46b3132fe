/* pieces.c: what subword.h has that does not need SentencePiece. */
#include "subword.h"

#include <stdlib.h>
#include <string.h>

const char *const text_subword_kind_names[TEXT_SUBWORD_KINDS] = {
    [TEXT_UNIGRAM] = "unigram",
    [TEXT_BPE] = "bpe",
};

void text_pieces_free(text_pieces *pieces) {
    free(pieces->id);
    *pieces = (text_pieces){0};
}

/* One block holds the three lists, ids first. */
bool text_pieces_reserve(text_pieces *pieces, int64_t count, io_error *error) {
    if (count <= pieces->capacity) return true;
    const int64_t capacity = count > 2 * pieces->capacity ? count : 2 * pieces->capacity;
    int32_t *const block = (uint64_t)capacity <= SIZE_MAX / 3 / sizeof *block
                               ? malloc(3 * (size_t)capacity * sizeof *block)
                               : NULL;
    if (!block) return io_fail(error, "no memory for %lld subwords", (long long)count);
    for (int64_t i = 0; i < pieces->count; i++) {
        block[i] = pieces->id[i];
        block[capacity + i] = pieces->begin[i];
        block[2 * capacity + i] = pieces->end[i];
    }
    free(pieces->id);
    pieces->id = block;
    pieces->begin = block + capacity;
    pieces->end = block + 2 * capacity;
    pieces->capacity = capacity;
    return true;
}

/* Pieces come in order, so one walk over the sentence finds the words of all. */
int64_t text_pieces_words(const text_pieces *pieces, const char *sentence, int32_t *word) {
    int32_t at = 0, words = 0; /* words: how many start before `at` */
    for (int64_t i = 0; i < pieces->count; i++) {
        /* The first byte at or after the piece's begin that is in a word. */
        int32_t first = pieces->begin[i];
        while (sentence[first] == ' ') first++;
        for (; sentence[at] && at <= first; at++) {
            words += sentence[at] != ' ' && (at == 0 || sentence[at - 1] == ' ');
        }
        word[i] = words > 0 ? words - 1 : 0;
    }
    for (; sentence[at]; at++) {
        words += sentence[at] != ' ' && (at == 0 || sentence[at - 1] == ' ');
    }
    return words;
}

int64_t text_word_count(const char *sentence) {
    int64_t words = 0;
    for (const char *at = sentence; *(at += strspn(at, " ")); at += strcspn(at, " ")) words++;
    return words;
}
