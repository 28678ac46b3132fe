/* subword_none.c: takes the place of subword.cpp where there is no SentencePiece. */
#include "subword.h"

static bool absent(io_error *error) {
    return io_fail(error, "this build has no SentencePiece (Debian: libsentencepiece-dev)");
}

bool text_subword_available(void) {
    return false;
}

bool text_subword_from_bytes(text_subword **subword, const void *bytes, size_t size,
                             const char *name, io_error *error) {
    (void)bytes, (void)size, (void)name;
    *subword = NULL;
    return absent(error);
}

bool text_subword_encode(const text_subword *subword, const char *sentence, size_t length,
                         text_pieces *pieces, io_error *error) {
    (void)subword, (void)sentence, (void)length;
    pieces->count = 0;
    return absent(error);
}

bool text_subword_sample(const text_subword *subword, int64_t count, const char *const *sentences,
                         double alpha, uint32_t seed, text_pieces *pieces, io_error *error) {
    (void)subword, (void)sentences, (void)alpha, (void)seed;
    for (int64_t i = 0; i < count; i++) pieces[i].count = 0;
    return absent(error);
}

bool text_subword_decode(const text_subword *subword, const int32_t *ids, int64_t count,
                         char **text, io_error *error) {
    (void)subword, (void)ids, (void)count;
    *text = NULL;
    return absent(error);
}

bool text_subword_train_on(text_subword_next next, void *context,
                           const text_subword_options *options, void **bytes, size_t *size,
                           io_error *error) {
    (void)next, (void)context, (void)options;
    *bytes = NULL;
    *size = 0;
    return absent(error);
}

/* No model can be made, so nothing asks about one. */

void text_subword_close(text_subword *subword) {
    (void)subword;
}

const void *text_subword_bytes(const text_subword *subword, size_t *size) {
    (void)subword;
    *size = 0;
    return NULL;
}

int32_t text_subword_vocabulary(const text_subword *subword) {
    (void)subword;
    return 0;
}

text_subword_specials text_subword_special_ids(const text_subword *subword) {
    (void)subword;
    return (text_subword_specials){-1, -1, -1, -1};
}

const char *text_subword_piece(const text_subword *subword, int32_t id) {
    (void)subword, (void)id;
    return "";
}

int32_t text_subword_id(const text_subword *subword, const char *piece) {
    (void)subword, (void)piece;
    return -1;
}

bool text_subword_begins_word(const text_subword *subword, int32_t id) {
    (void)subword, (void)id;
    return false;
}

bool text_subword_is_control(const text_subword *subword, int32_t id) {
    (void)subword, (void)id;
    return false;
}
