/* aligner.h: which words of a pair translate each other, by where a model looks while it is told what
 * to say. */
#ifndef TRANSLATE_ALIGNER_H
#define TRANSLATE_ALIGNER_H

#include "alignment.h"
#include "grid.h"
#include "translator.h"

enum { ALIGN_HEADS_MAX = 64, ALIGN_USUAL = -1 };

typedef struct align_options {
    int64_t layer;                  /* of the decoder, from 1; 0: the model's align_layer */
    int64_t heads[ALIGN_HEADS_MAX]; /* whose mean counts, from 0; */
    int64_t head_count;             /* 0: the model's first align_heads */
    bool shifted; /* look when the word has been said, not when it is to be (Chen et al. 2020) */
    text_pooling pooling;
    text_rule rule;
    double threshold; /* ALIGN_USUAL: 0.3 for rules of thresholds, 0 for those of largest weights */
    int threads;
} align_options;

/* Whether there is anything to see: recurrent models may be without attention. */
bool align_possible(const translator *t);

/* The model's own heads, and the rule that has the fewest errors on the Hansards' dev sentences with the
 * model that the command brings: models/README.md. */
align_options align_defaults(void);

/* Links between the words, cut at blanks, of sources[i] and targets[i], into links[i], to be freed each
 * (text_links_free), whatever comes of it; `links` begins zeroed. */
bool align_pairs(const translator *t, const char *const *sources, const char *const *targets,
                 int64_t count, const align_options *options, text_links *links, io_error *error);

/* The weights themselves, between words, of one pair; values: NULL for the model's own, or others of its
 * layout. On success free the grid. */
bool align_weights(const translator *t, const attn_nn_real *values, const char *source,
                   const char *target, const align_options *options, translation_grid *grid,
                   io_error *error);

/* Links of a translation that was made with weights, between words cut at blanks. */
bool align_translation(const translator *t, const char *sentence, const translated *result,
                       const translation *best, const align_options *options, text_links *links,
                       io_error *error);

#endif
