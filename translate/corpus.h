/* corpus.h: pairs of sentences from files, as tokens. */
#ifndef TRANSLATE_CORPUS_H
#define TRANSLATE_CORPUS_H

#include "error.h"
#include "lines.h"
#include "subword.h"

#include <attn/nn.h>

/* All pairs of some files (text/lines.h), in order. */
typedef struct translate_pairs {
    text_pairs *files; /* [files_count] */
    int64_t files_count;
    int64_t count; /* of pairs, in all files */
} translate_pairs;

bool translate_pairs_read(translate_pairs *pairs, const char *const *paths, int64_t count,
                          io_error *error);
void translate_pairs_free(translate_pairs *pairs);

/* Sentences longer than this, in bytes, are no sentences: attention over all of a book would take more
 * memory than there is. */
enum { TRANSLATE_SENTENCE_LIMIT = 1 << 14 };

/* Refuses pairs with longer ones, by the name in paths [files_count] and the line. */
bool translate_pairs_short(const translate_pairs *pairs, const char *const *paths, io_error *error);

/* Pair number i, counted through all files. */
const char *translate_pairs_source(const translate_pairs *pairs, int64_t i);
const char *translate_pairs_target(const translate_pairs *pairs, int64_t i);

/* A subword model of both sides of all pairs; to be closed. */
bool translate_train_subwords(text_subword **subword, const translate_pairs *pairs,
                              int32_t vocabulary, io_error *error);

/* The pairs' tokens. `corpus` points into the other fields. */
typedef struct translate_corpus {
    attn_nn_corpus corpus;
    int64_t *source_starts, *target_starts, *guide_starts;
    int32_t *source_tokens, *target_tokens;
    attn_nn_link *links;
} translate_corpus;

/* guides: a file of Pharaoh links between words (as text/words.h cuts them), a line for each pair; NULL: none. A
 * link of words becomes links between all their subwords. */
bool translate_corpus_make(translate_corpus *corpus, const translate_pairs *pairs,
                           const text_subword *subword, const char *guides, io_error *error);
/* Of all that is in it: other text, other subwords or other guides give another number. */
uint64_t translate_corpus_checksum(const translate_corpus *corpus);
void translate_corpus_free(translate_corpus *corpus);

#endif
