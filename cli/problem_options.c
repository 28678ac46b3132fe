/* problem_options.c: the options that say what to compute. */
#include "kinds.h"
#include "problem.h"

#include <math.h>
#include <string.h>

#define FIELD(member) offsetof(cli_problem_settings, member)

const cli_option cli_input_options[] = {
    {"query", "FILE",
     "queries, .npy: [length, width], [heads, length, width]\n"
     "or [batch, heads, length, width], float32 or float64",
     cli_text, FIELD(query)},
    {"key", "FILE", "keys; their heads must divide the query's", cli_text, FIELD(key)},
    {"value", "FILE", "values, one for each key", cli_text, FIELD(value)},
    {0},
};

const cli_option cli_kind_options[] = {
    {"score", "NAME",
     "scaled (dot product / sqrt(width)), dot, general, additive,\n"
     "concat, cosine, gaussian, location, relative, or custom\n"
     "(nothing but what is added to it) (scaled)",
     cli_score_name, FIELD(score)},
    {"score-weight", "FILE",
     "additive, concat: [width] or [heads, width]; general: [query\n"
     "width, key width], location: [keys, width], relative: keys\n"
     "by offset, [offsets, width], or any of these for each head",
     cli_text, FIELD(score_weight)},
    {"score-projection", "FILE", "concat: [hidden, query width + key width], or for each head",
     cli_text, FIELD(score_projection)},
    {"score-bias", "FILE",
     "additive, concat: added inside tanh, [hidden] or\n"
     "[heads, hidden]",
     cli_text, FIELD(score_bias)},
    {"score-scales", "FILE", "a factor a head beside --scale: [heads] or [batch, heads]", cli_text,
     FIELD(score_scales)},
    {"normalize-weight", NULL, "additive, concat: use the weight divided by its length", cli_flag,
     FIELD(normalize_weight)},
    {0},
};

const cli_option cli_score_options[] = {
    {"scale", "S",
     "multiplies the score (scaled, relative: 1/sqrt(width);\n"
     "gaussian: 1/2; others: 1)",
     cli_scale, FIELD(scale)},
    {"softcap", "C", "caps scores: s becomes C*tanh(s/C)", cli_cap, FIELD(softcap)},
    {"bias", "FILE",
     "added to the scores: [queries, keys], 2 to 4 dimensions;\n"
     "sizes of 1 broadcast",
     cli_text, FIELD(bias)},
    {"alibi", "FILE", "ALiBi slopes: [heads] or [batch, heads]", cli_text, FIELD(alibi)},
    {"sinks", "FILE", "attention sinks, a logit a head: [heads] or [batch, heads]", cli_text,
     FIELD(sinks)},
    {0},
};

static bool parse_buckets(void *field, const char *text, io_error *error) {
    static const char *const names[] = {[ATTN_BUCKETS_CLIPPED] = "clipped",
                                        [ATTN_BUCKETS_T5] = "t5",
                                        [ATTN_BUCKETS_T5_CAUSAL] = "t5-causal"};
    int kind = 0;
    if (!cli_word(names, 3, sizeof names[0], text, &kind, error)) return false;
    *(attn_bucket_kind *)field = (attn_bucket_kind)kind;
    return true;
}

const cli_option cli_relative_options[] = {
    {"relative-bias", "FILE", "added to the score, by offset: [offsets] or [heads, offsets]",
     cli_text, FIELD(relative_bias)},
    {"relative-queries", "FILE",
     "multiplied with the key, by offset: [offsets, width] or\n"
     "[heads, offsets, width]",
     cli_text, FIELD(relative_queries)},
    {"relative-values", "FILE", "added to the value, by offset: in the value's width", cli_text,
     FIELD(relative_values)},
    {"relative-content-bias", "FILE",
     "added to the query for the key's product: [width] or\n"
     "[heads, width]",
     cli_text, FIELD(relative_content_bias)},
    {"relative-position-bias", "FILE", "the same for the product with relative's --score-weight",
     cli_text, FIELD(relative_position_bias)},
    {"relative-buckets", "KIND", "which entry an offset has: clipped, t5 or t5-causal (clipped)",
     parse_buckets, FIELD(relative_buckets)},
    {"relative-origin", "N", "clipped: the entry of offset 0 (0: the middle)", cli_count,
     FIELD(relative_origin)},
    {"relative-max-distance", "N", "t5: offsets from here on share an entry (128)", cli_size,
     FIELD(relative_max_distance)},
    {0},
};

const cli_option cli_location_options[] = {
    {"location-previous", "FILE",
     "weights of the step before: [queries, keys], 2 to 4\n"
     "dimensions; sizes of 1 broadcast, but not over keys",
     cli_text, FIELD(location_previous)},
    {"location-filters", "FILE", "[channels, odd width], or for each head", cli_text,
     FIELD(location_filters)},
    {"location-projection", "FILE", "[hidden, channels], or for each head", cli_text,
     FIELD(location_projection)},
    {0},
};

static bool parse_alpha(void *field, const char *text, io_error *error) {
    double value = 0;
    if (!cli_read_real(text, &value) || value <= 1 || value > 16) {
        return io_fail(error, "expected a number above 1 and at most 16");
    }
    *(double *)field = value;
    return true;
}

static bool parse_local(void *field, const char *text, io_error *error) {
    double value = 0;
    if (!cli_read_real(text, &value) || value < 0) {
        return io_fail(error, "expected a finite number, 0 or more");
    }
    *(cli_local *)field = (cli_local){.enabled = true, .half_width = value};
    return true;
}

static bool parse_sigma(void *field, const char *text, io_error *error) {
    if (strcmp(text, "inf") == 0) {
        *(double *)field = INFINITY;
        return true;
    }
    return cli_cap(field, text, NULL) || io_fail(error, "expected a number above 0, or inf");
}

const cli_option cli_normalizer_options[] = {
    {"normalizer", "NAME",
     "softmax, softmax-one, sigmoid, sparsemax, entmax15, entmax,\n"
     "relu, relu2 (its square), linear or hardmax (softmax)",
     cli_normalizer_name, FIELD(normalizer)},
    {"temperature", "T", "divides the scores before (1)", cli_cap, FIELD(temperature)},
    {"alpha", "A", "of entmax, above 1 and at most 16 (1.5)", parse_alpha, FIELD(alpha)},
    {"sigmoid-bias", "B", "of sigmoid, added to the scores (0)", cli_number, FIELD(sigmoid_bias)},
    {"local", "W",
     "a query sees keys within W of its centre, and their weights\n"
     "fall off from there",
     parse_local, FIELD(local)},
    {"local-centers", "FILE",
     "a place a query: [queries], [heads, queries] or [batch,\n"
     "heads, queries] (the query's own position)",
     cli_text, FIELD(local_centers)},
    {"local-sigma", "S", "how wide the fall is; inf: none (W/2)", parse_sigma, FIELD(local_sigma)},
    {0},
};

static bool parse_seed(void *field, const char *text, io_error *error) {
    if (cli_read_unsigned(text, field)) return true;
    return io_fail(error, "expected a whole number, 0 to 2^64 - 1");
}

const cli_option cli_noise_options[] = {
    {"gumbel", NULL, "adds Gumbel noise to the scores", cli_flag, FIELD(gumbel)},
    {"dropout", "P", "sets weights to 0 with probability P", cli_share, FIELD(dropout)},
    {"seed", "N", "another number, another noise (0)", parse_seed, FIELD(seed)},
    {0},
};

const cli_option cli_mask_options[] = {
    {"causal", "CORNER",
     "a query sees no later keys; the first query stands at the\n"
     "first key (top-left) or the last at the last (bottom-right)",
     cli_causal_rule, FIELD(causal)},
    {"window", "L,R",
     "a query sees L keys to its left and R to its right;\n"
     "-1: no limit on that side",
     cli_window, FIELD(window)},
    {"query-offset", "N", "moves the queries N keys to the right", cli_integer,
     FIELD(query_offset)},
    {"mask", "FILE",
     "who may attend, bool: [queries, keys], 2 to 4 dimensions;\n"
     "sizes of 1 broadcast",
     cli_text, FIELD(mask)},
    {"query-lengths", "N,...", "how many queries are real, for each row of the batch", cli_numbers,
     FIELD(query_lengths)},
    {"key-lengths", "N,...", "how many keys are real, for each row of the batch", cli_numbers,
     FIELD(key_lengths)},
    {"prefix-lengths", "N,...", "how many first keys --causal does not hide", cli_numbers,
     FIELD(prefix_lengths)},
    {0},
};

const cli_option cli_machine_options[] = {
    {"threads", "N", "how many threads (0: OMP_NUM_THREADS or all)", cli_count, FIELD(threads)},
    {"isa", "NAME", "use no better instruction set than this (see attn info)", cli_isa, FIELD(isa)},
    {0},
};
