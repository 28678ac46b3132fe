/* grid.h: a translation's words and the weights between them. */
#ifndef TRANSLATE_GRID_H
#define TRANSLATE_GRID_H

#include "alignment.h"
#include "translator.h"

/* Words are cut at blanks; the end of the sentence is none. */
typedef struct translation_grid {
    char **source, **target; /* [sources], [targets] */
    int64_t sources, targets;
    float *weights; /* [targets, sources]: of a word's subwords summed over the source's, and their
                     * mean over the target's */
} translation_grid;

/* The weights of a translation that was made with them, and the words between which they are. */
typedef struct translation_look {
    text_weights weights; /* points into the translation, and to: */
    int32_t *words;       /* of the source's pieces, and of the target's */
    int64_t sources, targets;
} translation_look;

/* On success free(look->words). */
bool translation_look_make(translation_look *look, const translator *t, const char *sentence,
                           const translated *result, const translation *best, io_error *error);

/* Of a translation that was made with weights. On success free it. */
bool translation_grid_make(translation_grid *grid, const translator *t, const char *sentence,
                           const translated *result, const translation *best, io_error *error);

/* The same of any weights between pieces of two sentences with that many words. */
bool translation_grid_fold(translation_grid *grid, const text_weights *weights, const char *source,
                           int64_t source_words, const char *target, int64_t target_words,
                           io_error *error);
void translation_grid_free(translation_grid *grid);

#endif
