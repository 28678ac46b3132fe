#include "grid.h"

#include <stdlib.h>
#include <string.h>

static void free_words(char **words, int64_t count) {
    for (int64_t i = 0; words && i < count; i++) free(words[i]);
    free(words);
}

/* The words of a text, cut at blanks as text_pieces_words does; `count` says how many there are. NULL: out of
 * memory. */
static char **cut_words(const char *text, int64_t count) {
    char **const words = calloc((size_t)count + 1, sizeof *words);
    const char *at = text;
    for (int64_t i = 0; words && i < count; i++) {
        at += strspn(at, " ");
        const size_t length = strcspn(at, " ");
        words[i] = strndup(at, length);
        if (words[i] == NULL) {
            free_words(words, i);
            return NULL;
        }
        at += length;
    }
    return words;
}

bool translation_grid_fold(translation_grid *g, const text_weights *weights, const char *source,
                           int64_t source_words, const char *target, int64_t target_words,
                           io_error *error) {
    *g = (translation_grid){.sources = source_words, .targets = target_words};
    g->source = cut_words(source, source_words);
    g->target = cut_words(target, target_words);
    g->weights = calloc((size_t)(source_words * target_words) + 1, sizeof *g->weights);
    if (g->source && g->target && g->weights &&
        text_weights_fold(weights, TEXT_POOL_MEAN, target_words, source_words, g->weights)) {
        return true;
    }
    translation_grid_free(g);
    return io_fail(error, "out of memory");
}

bool translation_look_make(translation_look *look, const translator *t, const char *sentence,
                           const translated *result, const translation *best, io_error *error) {
    const int64_t sources = result->source.count;
    int32_t *const words = malloc((size_t)(sources + best->length + 2) * sizeof *words);
    *look = (translation_look){.words = words};
    if (words == NULL) return io_fail(error, "out of memory");
    look->weights = (text_weights){.weight = best->weights,
                                   .stride = sources + 1,
                                   .targets = best->length,
                                   .sources = sources,
                                   .target_word = words + sources + 1,
                                   .source_word = words};
    look->sources = text_pieces_words(&result->source, sentence, words);
    look->targets = translation_words(t, best, words + sources + 1);
    return true;
}

bool translation_grid_make(translation_grid *g, const translator *t, const char *sentence,
                           const translated *result, const translation *best, io_error *error) {
    translation_look look;
    *g = (translation_grid){0};
    const bool good = translation_look_make(&look, t, sentence, result, best, error) &&
                      translation_grid_fold(g, &look.weights, sentence, look.sources, best->text,
                                            look.targets, error);
    free(look.words);
    return good;
}

void translation_grid_free(translation_grid *g) {
    free_words(g->source, g->sources);
    free_words(g->target, g->targets);
    free(g->weights);
    *g = (translation_grid){0};
}
