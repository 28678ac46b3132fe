#define _GNU_SOURCE
#include "translator_options.h"

#include "threads.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const cli_search cli_search_defaults = {
    .beam = 5, .n_best = 1, .max_length = 256, .length_penalty = 1, .temperature = 1, .top_p = 1};

#define AT(field) offsetof(cli_search, field)

const cli_option cli_model_options[] = {
    {"model", "FILE", "a model that attn train made, or fr-en or fr-en-lstm (fr-en)", cli_text,
     AT(model)},
    {"threads", "N", "how many threads (0: OMP_NUM_THREADS or all)", cli_count, AT(threads)},
    {0},
};

const cli_option cli_search_options[] = {
    {"beam", "N", "hypotheses kept for a sentence (5)", cli_size, AT(beam)},
    {"greedy", NULL, "the most probable word each time, no beam", cli_flag, AT(greedy)},
    {"sample", NULL, "words drawn by their probabilities", cli_flag, AT(sample)},
    {"n-best", "N", "translations of each sentence (1)", cli_size, AT(n_best)},
    {"length-penalty", "A", "score = log p / length^A (1)", cli_number, AT(length_penalty)},
    {"max-length", "N", "the longest translation, in subwords (256)", cli_size, AT(max_length)},
    {"temperature", "T", "--sample: of the probabilities (1)", cli_cap, AT(temperature)},
    {"top-k", "K", "--sample: of the K most probable words alone (0: all)", cli_count, AT(top_k)},
    {"top-p", "P", "--sample: of the most probable words with a share of P (1)", cli_cap,
     AT(top_p)},
    {"seed", "N", "--sample: of all that is random (0)", cli_count, AT(seed)},
    {0},
};

/* --- The model that is there ------------------------------------------------------------------------ */

static const char default_name[] = "fr-en";

/* FOLDER/share/attn/NAME.safetensors, where FOLDER is that of the command, or the one above it. */
static bool find_shipped(const char *name, char *path, size_t size) {
    char folder[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (length <= 0) return false;
    folder[length] = 0;
    for (int up = 0; up < 2; up++) {
        char *const slash = strrchr(folder, '/');
        if (slash == NULL) return false;
        *slash = 0;
        const int used = snprintf(path, size, "%s/share/attn/%s.safetensors", folder, name);
        if (used > 0 && (size_t)used < size && access(path, R_OK) == 0) return true;
    }
    return false;
}

bool cli_load_translator(translator *t, cli_search *search, io_error *error) {
    char found[2 * PATH_MAX];
    const char *path = search->model ? search->model : getenv("ATTN_MODEL");
    if (path == NULL) {
        if (!find_shipped(default_name, found, sizeof found)) {
            return io_fail(error,
                           "--model is missing: expected a file, for share/attn/%s.safetensors is "
                           "not beside this command",
                           default_name);
        }
        path = found;
    } else if (strchr(path, '/') == NULL && access(path, F_OK) != 0 &&
               find_shipped(path, found, sizeof found)) {
        path = found;
    }
    search->threads = translate_use_threads((int)(search->threads < 4096 ? search->threads : 4096));
    /* The path is not kept: translator_load reads all of it. */
    return translator_load(t, path, error);
}

bool cli_search_settings(const cli_search *search, const translator *t, translate_options *options,
                         io_error *error) {
    attn_nn_search_options *const to = &options->search;
    if (search->greedy && search->sample) return io_fail(error, "--greedy excludes --sample");
    if (search->greedy && search->n_best > 1)
        return io_fail(error, "--greedy finds one translation");
    *to = translator_search(t);
    to->kind = search->greedy ? ATTN_NN_GREEDY : search->sample ? ATTN_NN_SAMPLE : ATTN_NN_BEAM;
    to->beam = search->beam, to->n_best = search->n_best;
    if (to->kind == ATTN_NN_BEAM && to->n_best > to->beam) {
        return io_fail(error, "--n-best %lld: expected at most --beam, %lld",
                       (long long)search->n_best, (long long)search->beam);
    }
    to->length_penalty = search->length_penalty, to->max_length = search->max_length;
    to->temperature = search->temperature, to->top_k = search->top_k, to->top_p = search->top_p;
    to->seed = (uint64_t)search->seed;
    options->threads = (int)search->threads;
    return true;
}

/* --- Links ------------------------------------------------------------------------------------------ */

static bool read_rule(void *field, const char *text, io_error *error) {
    int choice = 0;
    if (!cli_word(text_rule_names, TEXT_RULES, sizeof text_rule_names[0], text, &choice, error)) {
        return false;
    }
    *(text_rule *)field = (text_rule)choice;
    return true;
}

static bool read_pooling(void *field, const char *text, io_error *error) {
    int choice = 0;
    if (!cli_word(text_pooling_names, TEXT_POOLINGS, sizeof text_pooling_names[0], text, &choice,
                  error)) {
        return false;
    }
    *(text_pooling *)field = (text_pooling)choice;
    return true;
}

#undef AT
#define AT(field) offsetof(cli_extraction, field)

const cli_option cli_heads_options[] = {
    {"layer", "N", "of the decoder, from 1 (the model's own choice)", cli_size, AT(layer)},
    {"heads", "H,...", "whose mean weights count, from 0 (the model's own choice)", cli_rising,
     AT(heads)},
    {"shifted", NULL, "where it looks once the word has been said, not before", cli_flag,
     AT(align.shifted)},
    {0},
};

const cli_option cli_extraction_options[] = {
    {"rule", "NAME",
     "how weights become links: forward, backward, intersection,\n"
     "union, grow-diag-final-and, threshold, mutual (intersection)",
     read_rule, AT(align.rule)},
    {"threshold", "W", "the least weight of a link (0.3 for the last two rules, else 0)",
     cli_number, AT(align.threshold)},
    {"pooling", "NAME", "a word's weights from its subwords': mean or max (mean)", read_pooling,
     AT(align.pooling)},
    {0},
};

bool cli_extraction_settings(cli_extraction *e, const translator *t, io_error *error) {
    const attn_nn_config *const config = attn_nn_model_config(t->file.model);
    const bool transformer = config->family == ATTN_NN_TRANSFORMER;
    const bool splits = transformer || config->look == ATTN_NN_LOOK_MULTI_HEAD;
    const int64_t layers = transformer ? config->decoder_layers : 1;
    const int64_t heads = splits ? config->heads : 1;
    if (e->layer > layers) {
        return io_fail(error, "--layer %lld: expected at most %lld", (long long)e->layer,
                       (long long)layers);
    }
    if (e->heads.count > ALIGN_HEADS_MAX) {
        return io_fail(error, "--heads: expected at most %d", ALIGN_HEADS_MAX);
    }
    e->align.layer = e->layer;
    e->align.head_count = e->heads.count;
    for (int i = 0; i < e->heads.count; i++) {
        if (e->heads.values[i] >= heads) {
            return io_fail(error, "--heads %lld: expected numbers below %lld",
                           (long long)e->heads.values[i], (long long)heads);
        }
        e->align.heads[i] = e->heads.values[i];
    }
    return true;
}
