/* translator.h: sentences in, sentences out, and where the model looked. */
#ifndef TRANSLATE_TRANSLATOR_H
#define TRANSLATE_TRANSLATOR_H

#include "error.h"
#include "model_file.h"
#include "subword.h"

#include <attn/nn.h>

/* A model with the subwords that it was trained on. */
typedef struct translator {
    model_file file;
    text_subword *subword;
    attn_nn_packed *packed; /* translator_pack's; NULL: none */
} translator;

/* Refuses a model without subwords. On success free it. */
bool translator_load(translator *t, const char *path, io_error *error);

/* Packs the file's matrices once for all calls of translate_sentences with the file's values; each call
 * packs them for itself otherwise. For values that stay as they are. */
bool translator_pack(translator *t, io_error *error);
void translator_free(translator *t);

/* The search's options for this model, to be changed: its begin, end, unknown and padding are set. */
attn_nn_search_options translator_search(const translator *t);

/* One way to say a sentence. */
typedef struct translation {
    char *text; /* without control characters */
    double log_p, score;
    int32_t *tokens; /* [length], without begin and end */
    int64_t length;
    float *weights; /* [length + 1, sources + 1], the end's last; NULL unless asked for */
} translation;

/* A sentence and its translations, best first. */
typedef struct translated {
    text_pieces source; /* with their places in the sentence */
    translation *best;  /* [count] */
    int64_t count;
} translated;

typedef struct translate_options {
    attn_nn_search_options search; /* translator_search, changed */
    int threads;                   /* 0: what OpenMP would use */
    int64_t rows;                  /* hypotheses that are under way at a time on a thread; 0: 640 */

    /* Called after each group of sentences, on any thread but one at a time, with how many sentences
     * are done; false ends the work. NULL: never. */
    bool (*progress)(void *user, int64_t done);
    void *user;
} translate_options;

/* Translates sentences[count] into results[count], each to be freed. values: NULL for the model's own;
 * else others of its layout. Sentences of like length are translated together; how they are grouped
 * and how many threads there are does not show in the results, but for the last bits of scores. */
bool translate_sentences(const translator *t, const attn_nn_real *values,
                         const char *const *sentences, int64_t count,
                         const translate_options *options, translated *results, io_error *error);
void translated_free(translated *results, int64_t count);

/* Which target word each token belongs to, from 0, and the end to none (-1): word [length + 1]. Returns
 * how many words there are. */
int64_t translation_words(const translator *t, const translation *best, int32_t *word);

#endif
