/* translator_options.h: what the commands that use a model share. */
#ifndef CLI_TRANSLATOR_OPTIONS_H
#define CLI_TRANSLATOR_OPTIONS_H

#include "options.h"

#include "aligner.h"
#include "translator.h"

typedef struct cli_search {
    const char *model;
    bool greedy, sample;
    int64_t beam, n_best, max_length, seed, top_k, threads;
    double length_penalty, temperature, top_p;
} cli_search;

extern const cli_search cli_search_defaults;

/* Groups of options; offsets count in a cli_search. */
extern const cli_option cli_model_options[];  /* --model, --threads */
extern const cli_option cli_search_options[]; /* --beam, ... */

/* Makes search->threads the number of them, and loads the chosen model: the file or, if there is none,
 * the one of that name that libattn brings, in share/attn beside the command's folder or in it; without
 * a choice, ATTN_MODEL, or fr-en. */
bool cli_load_translator(translator *t, cli_search *search, io_error *error);

/* What the search is told. */
bool cli_search_settings(const cli_search *search, const translator *t, translate_options *options,
                         io_error *error);

/* How links are made of weights. */
typedef struct cli_extraction {
    align_options align;
    cli_list heads;
    int64_t layer;
} cli_extraction;

/* Offsets count in a cli_extraction. Which heads: a search keeps the weights of the model's own alone. */
extern const cli_option cli_heads_options[];      /* --layer, ... */
extern const cli_option cli_extraction_options[]; /* --rule, ... */

/* Finishes what the options began. */
bool cli_extraction_settings(cli_extraction *extraction, const translator *t, io_error *error);

#endif
