#include "grid.h"

#include <stdlib.h>
#include <string.h>

/* The words of a text, cut at blanks as text_pieces_words does; `count` says how many there are. */
static char **cut_words(const char *text, int64_t count) {
    char **const words = calloc((size_t)count + 1, sizeof *words);
    const char *at = text;
    for (int64_t i = 0; words && i < count; i++) {
        at += strspn(at, " ");
        const size_t length = strcspn(at, " ");
        words[i] = strndup(at, length);
        at += length;
    }
    return words;
}

static void free_words(char **words, int64_t count) {
    for (int64_t i = 0; words && i < count; i++) free(words[i]);
    free(words);
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

bool translation_grid_make(translation_grid *g, const translator *t, const char *sentence,
                           const translated *result, const translation *best, io_error *error) {
    *g = (translation_grid){0};
    int32_t *const source_word = malloc((size_t)(result->source.count + 1) * sizeof *source_word);
    int32_t *const target_word = malloc((size_t)(best->length + 1) * sizeof *target_word);
    bool good = (source_word && target_word) || io_fail(error, "out of memory");
    if (good) {
        const text_weights weights = {.weight = best->weights,
                                      .stride = result->source.count + 1,
                                      .targets = best->length,
                                      .sources = result->source.count,
                                      .target_word = target_word,
                                      .source_word = source_word};
        const int64_t sources = text_pieces_words(&result->source, sentence, source_word);
        const int64_t targets = translation_words(t, best, target_word);
        good = translation_grid_fold(g, &weights, sentence, sources, best->text, targets, error);
    }
    free(source_word);
    free(target_word);
    return good;
}

void translation_grid_free(translation_grid *g) {
    free_words(g->source, g->sources);
    free_words(g->target, g->targets);
    free(g->weights);
    *g = (translation_grid){0};
}
