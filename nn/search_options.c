/* search_options.c: what a search is asked for. */
#include "search.h"

#include <math.h>
#include <stdio.h>

attn_nn_search_options attn_nn_search_defaults(int32_t begin, int32_t end, int32_t unknown,
                                               int32_t pad) {
    return (attn_nn_search_options){
        .kind = ATTN_NN_BEAM,
        .beam = 5,
        .n_best = 1,
        .length_penalty = 1,
        .patience = 1,
        .max_length = 256,
        .max_factor = 2,
        .max_more = 10,
        .temperature = 1,
        .top_p = 1,
        .begin = begin,
        .end = end,
        .unknown = unknown,
        .pad = pad,
    };
}

static const char *wrong_beam(const attn_nn_search_options *o) {
    if (o->kind < ATTN_NN_GREEDY || o->kind > ATTN_NN_SAMPLE)
        return "kind: expected one of its enum";
    if (o->beam < 1 || o->beam > NN_BEAM_LIMIT) return "beam: expected 1 to 4096";
    if (o->n_best < 1 || o->n_best > NN_BEAM_LIMIT) return "n_best: expected 1 to 4096";
    if (o->kind == ATTN_NN_BEAM && o->n_best > o->beam) return "n_best: expected at most beam";
    if (o->kind == ATTN_NN_GREEDY && o->n_best > 1) return "n_best: expected 1 of a greedy search";
    if (!(o->patience > 0)) return "patience: expected more than 0";
    return NULL;
}

static const char *wrong_lengths(const attn_nn_search_options *o) {
    if (!isfinite(o->length_penalty)) return "length_penalty: expected a finite number";
    if (o->max_length < 0) return "max_length: expected 0 or more";
    if (!(o->max_factor >= 0)) return "max_factor: expected 0 or more";
    if (o->max_more < 0) return "max_more: expected 0 or more";
    if (o->min_length < 0) return "min_length: expected 0 or more";
    return NULL;
}

static const char *wrong_sampling(const attn_nn_search_options *o) {
    if (!(o->temperature > 0) || !isfinite(o->temperature)) {
        return "temperature: expected a finite number more than 0";
    }
    if (o->top_k < 0) return "top_k: expected 0 or more";
    if (!(o->top_p > 0 && o->top_p <= 1)) return "top_p: expected more than 0 and at most 1";
    return NULL;
}

static const char *wrong_tokens(const attn_nn_search_options *o, int64_t vocabulary) {
    if (o->begin < 0 || o->begin >= vocabulary) return "begin: expected a token of the vocabulary";
    if (o->end < 0 || o->end >= vocabulary) return "end: expected a token of the vocabulary";
    if (o->unknown < -1 || o->unknown >= vocabulary) {
        return "unknown: expected a token of the vocabulary, or -1";
    }
    if (o->pad < -1 || o->pad >= vocabulary) {
        return "pad: expected a token of the vocabulary, or -1";
    }
    return NULL;
}

bool attn_nn_search_check(attn_nn_pass *pass, const attn_nn_search_options *o, int64_t vocabulary) {
    const char *wrong = wrong_beam(o);
    if (wrong == NULL) wrong = wrong_lengths(o);
    if (wrong == NULL) wrong = wrong_sampling(o);
    if (wrong == NULL) wrong = wrong_tokens(o, vocabulary);
    if (wrong != NULL) {
        char sentence[128];
        (void)snprintf(sentence, sizeof sentence, "search: %s", wrong);
        attn_nn_fail(pass, ATTN_ERROR_VALUE, sentence);
    }
    return !attn_nn_failed(pass);
}
