/* search.c: greedy search, beams and samples, one step for all sentences at a time. */
#include "search.h"

#include "noise.h"

#include <math.h>
#include <stdlib.h>

/* Hypotheses that are open; those of a sentence follow each other, sentence after sentence. */
typedef struct hypotheses {
    int64_t count;
    int64_t *from;   /* which of the step before each continues */
    int64_t *node;   /* what it said last; -1: nothing yet */
    int64_t *chain;  /* which of its sentence's samples it is */
    double *total;   /* log p */
    int32_t *tokens; /* what it says next */
} hypotheses;

typedef struct sentence {
    int64_t rows;  /* open hypotheses */
    int64_t limit; /* tokens */
    int64_t finished;
    uint64_t stream; /* of its samples' noise */
} sentence;

typedef struct search {
    const attn_nn_search_source *from;
    attn_nn_pass *pass;
    const attn_nn_sentences *source;
    attn_nn_search_options options;
    int64_t width;   /* hypotheses of a sentence at most */
    int64_t longest; /* source sentence */
    int64_t said;    /* tokens of each open hypothesis */
    sentence *sentences;
    attn_nn_finished *finished; /* [sentences, n_best], best first */
    int64_t *kept;              /* [sentences]: how many of them there are */
    hypotheses now, next;
    attn_nn_best best;
    attn_nn_choice *choices; /* of samples, [vocabulary] */
    attn_nn_tree tree;
    real *log_p;   /* [rows, vocabulary] */
    real *weights; /* [rows, longest]; NULL unless wanted */
} search;

static bool out_of_memory(search *s) {
    attn_nn_fail(s->pass, ATTN_ERROR_MEMORY, "out of memory");
    return false;
}

static int64_t rows_of_source(const search *s, int64_t k) {
    return s->source->starts[k + 1] - s->source->starts[k];
}

/* --- Beginning and end of a search ---------------------------------------------------------------- */

static bool make_hypotheses(hypotheses *h, size_t rows) {
    h->from = calloc(rows, sizeof *h->from);
    h->node = calloc(rows, sizeof *h->node);
    h->chain = calloc(rows, sizeof *h->chain);
    h->total = calloc(rows, sizeof *h->total);
    h->tokens = calloc(rows, sizeof *h->tokens);
    return h->from && h->node && h->chain && h->total && h->tokens;
}

static void free_hypotheses(hypotheses *h) {
    free(h->from);
    free(h->node);
    free(h->chain);
    free(h->total);
    free(h->tokens);
}

static void free_all(search *s) {
    free(s->sentences);
    free(s->finished);
    free(s->kept);
    free_hypotheses(&s->now);
    free_hypotheses(&s->next);
    free(s->best.items);
    free(s->choices);
    attn_nn_tree_free(&s->tree);
}

/* Of a beam's candidates `beam` at most are ends, one for each row; so twice as many have enough others. */
static bool make_all(search *s) {
    const size_t count = (size_t)s->source->count + 1, rows = count * (size_t)s->width;
    const int64_t all_rows = s->source->count * s->width;
    s->sentences = calloc(count, sizeof *s->sentences);
    s->finished = calloc(count * (size_t)s->options.n_best, sizeof *s->finished);
    s->kept = calloc(count, sizeof *s->kept);
    s->best.capacity = 2 * s->options.beam;
    s->best.items = calloc((size_t)s->best.capacity, sizeof *s->best.items);
    if (s->options.kind == ATTN_NN_SAMPLE) {
        s->choices = calloc((size_t)s->from->vocabulary, sizeof *s->choices);
        if (s->choices == NULL) return out_of_memory(s);
    }
    if (!make_hypotheses(&s->now, rows) || !make_hypotheses(&s->next, rows) || !s->sentences ||
        !s->finished || !s->kept || !s->best.items) {
        return out_of_memory(s);
    }
    s->log_p = attn_nn_take(s->pass, all_rows * s->from->vocabulary);
    if (s->options.want_weights) s->weights = attn_nn_take_zeros(s->pass, all_rows * s->longest);
    return !attn_nn_failed(s->pass);
}

/* A stream that depends on what the sentence says, and not on where it stands. */
static uint64_t stream_of(const search *s, int64_t k) {
    uint64_t stream = s->options.seed;
    for (int64_t i = s->source->starts[k]; i < s->source->starts[k + 1]; i++) {
        stream = attn_nn_stream(stream, (uint64_t)s->source->tokens[i]);
    }
    return stream;
}

static void begin(search *s) {
    const attn_nn_search_options *const o = &s->options;
    for (int64_t k = 0; k < s->source->count; k++) {
        sentence *const of = &s->sentences[k];
        const double longest = o->max_factor * (double)rows_of_source(s, k) + (double)o->max_more;
        of->rows = 1;
        of->limit = longest < (double)o->max_length ? (int64_t)longest : o->max_length;
        if (o->kind == ATTN_NN_SAMPLE) of->stream = stream_of(s, k);
        s->now.node[k] = -1;
        s->now.tokens[k] = o->begin;
    }
    s->now.count = s->source->count;
}

/* --- Hypotheses that finish ----------------------------------------------------------------------- */

static double penalty(const search *s, int64_t length) {
    return pow((double)(length + 1), s->options.length_penalty);
}

/* Row `row` of sentence k says the end. It is kept if it is among the n-best. */
static bool finish(search *s, int64_t k, int64_t row, double total) {
    const int64_t n_best = s->options.n_best;
    attn_nn_finished *const list = s->finished + k * n_best;
    const double score = total / penalty(s, s->said);
    s->sentences[k].finished++;
    int64_t at = s->kept[k];
    if (at == n_best && !(score > list[at - 1].score)) return true;
    const int64_t node =
        attn_nn_tree_add(&s->tree, s->now.node[row], s->options.end,
                         s->weights ? s->weights + row * s->longest : NULL, rows_of_source(s, k));
    if (node < 0) return out_of_memory(s);
    if (at == n_best) at--;
    else s->kept[k]++;
    for (; at > 0 && score > list[at - 1].score; at--) list[at] = list[at - 1];
    list[at] = (attn_nn_finished){node, s->said, total, score};
    return true;
}

/* The best score that a hypothesis of `length` tokens or more and log p `total` can end with: log p only
 * falls, and the penalty rises or falls all the way, so it is best at one of the lengths' ends. */
static double best_to_come(const search *s, double total, int64_t length, int64_t limit) {
    const double soon = total / penalty(s, length), late = total / penalty(s, limit);
    return soon > late ? soon : late;
}

/* Whether sentence k is done, if `open` hypotheses would go on of which the best has log p `total`. */
static bool is_done(const search *s, int64_t k, int64_t open, double total) {
    const attn_nn_search_options *const o = &s->options;
    if (open == 0) return true;
    if (s->kept[k] < o->n_best) return false;
    if ((double)s->sentences[k].finished >= o->patience * (double)o->beam) return true;
    const double worst = s->finished[k * o->n_best + o->n_best - 1].score;
    return best_to_come(s, total, s->said + 1, s->sentences[k].limit) <= worst;
}

/* --- One step of one sentence --------------------------------------------------------------------- */

static void go_on(search *s, int64_t row, int32_t token, double total, int64_t chain) {
    hypotheses *const h = &s->next;
    h->from[h->count] = row, h->tokens[h->count] = token;
    h->total[h->count] = total, h->chain[h->count] = chain;
    h->count++;
}

/* At the limit each row says the end, even one without a probability. */
static bool end_all(search *s, int64_t k, int64_t first) {
    for (int64_t r = first; r < first + s->sentences[k].rows; r++) {
        const double end = (double)s->log_p[r * s->from->vocabulary + s->options.end];
        if (isnan(end)) continue;
        if (!finish(s, k, r, s->now.total[r] + end)) return false;
    }
    return true;
}

static bool step_beam(search *s, int64_t k, int64_t first) {
    const int64_t beam = s->options.beam, vocabulary = s->from->vocabulary;
    const int64_t before = s->next.count;
    s->best.count = 0;
    for (int64_t r = first; r < first + s->sentences[k].rows; r++) {
        attn_nn_keep_best(&s->best, s->log_p + r * vocabulary, vocabulary, s->now.total[r], r);
    }
    for (int64_t i = 0; i < s->best.count; i++) {
        const attn_nn_candidate c = s->best.items[i];
        if (c.token != s->options.end) {
            if (s->next.count - before < beam) go_on(s, c.row, c.token, c.total, 0);
        } else if (i < beam && !finish(s, k, c.row, c.total)) {
            return false;
        }
    }
    const int64_t open = s->next.count - before;
    if (is_done(s, k, open, open ? s->next.total[before] : 0)) s->next.count = before;
    return true;
}

/* Within 0 and 1, by so much that its product with a number is less than that. */
static double uniform_of(attn_nn_noise n) {
    const uint64_t bits = ((uint64_t)n.a << 32 | n.b) >> 14;
    return ((double)bits + 0.5) * 0x1p-50;
}

static bool draw(search *s, int64_t k, int64_t row, int64_t chain) {
    const uint64_t stream = attn_nn_stream(s->sentences[k].stream, (uint64_t)chain);
    const double u = uniform_of(attn_nn_noise_at(stream, (uint64_t)s->said));
    const real *const log_p = s->log_p + row * s->from->vocabulary;
    const int32_t token = attn_nn_draw(log_p, s->from->vocabulary, &s->options, u, s->choices);
    if (token < 0) return true;
    const double total = s->now.total[row] + (double)log_p[token];
    if (token == s->options.end) return finish(s, k, row, total);
    go_on(s, row, token, total, chain);
    return true;
}

/* In the first step the one row of a sentence becomes n_best samples. */
static bool step_samples(search *s, int64_t k, int64_t first) {
    const int64_t draws = s->said == 0 ? s->options.n_best : s->sentences[k].rows;
    for (int64_t i = 0; i < draws; i++) {
        const int64_t row = s->said == 0 ? first : first + i;
        if (!draw(s, k, row, s->said == 0 ? i : s->now.chain[row])) return false;
    }
    return true;
}

static bool step_sentence(search *s, int64_t k, int64_t first) {
    sentence *const of = &s->sentences[k];
    const int64_t before = s->next.count;
    bool fine;
    if (s->said == of->limit) fine = end_all(s, k, first);
    else if (s->options.kind == ATTN_NN_SAMPLE) fine = step_samples(s, k, first);
    else fine = step_beam(s, k, first);
    if (!fine) return false;
    of->rows = s->next.count - before;
    if (of->rows > 0 || s->kept[k] > 0) return true;
    attn_nn_fail(s->pass, ATTN_ERROR_VALUE,
                 "search: no token has a probability: parameters are not finite, or the options "
                 "forbid what is left");
    return false;
}

/* --- One step of all ------------------------------------------------------------------------------ */

/* Takes the probability from what must not be said. A token that is also the end may be said. */
static void forbid(search *s) {
    const attn_nn_search_options *const o = &s->options;
    const int32_t never[] = {o->begin, o->pad, o->forbid_unknown ? o->unknown : -1};
    int64_t r = 0;
    for (int64_t k = 0; k < s->source->count; k++) {
        const int64_t limit = s->sentences[k].limit;
        const bool end = s->said >= o->min_length || s->said >= limit;
        for (int64_t i = 0; i < s->sentences[k].rows; i++, r++) {
            real *const row = s->log_p + r * s->from->vocabulary;
            for (size_t t = 0; t < sizeof never / sizeof never[0]; t++) {
                if (never[t] >= 0 && never[t] != o->end) row[never[t]] = (real)-INFINITY;
            }
            if (!end) row[o->end] = (real)-INFINITY;
        }
    }
}

/* Which hypotheses go on, written down; the decoder is told, unless each goes on where it is. */
static bool take_over(search *s) {
    hypotheses *const h = &s->next;
    bool same = h->count == s->now.count;
    int64_t r = 0;
    for (int64_t k = 0; k < s->source->count; k++) {
        for (int64_t i = 0; i < s->sentences[k].rows; i++, r++) {
            const int64_t from = h->from[r];
            const real *const weights = s->weights ? s->weights + from * s->longest : NULL;
            h->node[r] = attn_nn_tree_add(&s->tree, s->now.node[from], h->tokens[r], weights,
                                          rows_of_source(s, k));
            if (h->node[r] < 0) return out_of_memory(s);
            same = same && from == r;
        }
    }
    if (!same && h->count > 0 && !s->from->reorder(s->from->user, h->from, h->count)) return false;
    const hypotheses kept = s->now;
    s->now = s->next, s->next = kept;
    s->said++;
    return true;
}

static bool step_all(search *s) {
    if (!s->from->step(s->from->user, s->now.tokens, s->log_p, s->weights)) return false;
    forbid(s);
    s->next.count = 0;
    int64_t first = 0;
    for (int64_t k = 0; k < s->source->count; k++) {
        const int64_t rows = s->sentences[k].rows;
        if (rows > 0 && !step_sentence(s, k, first)) return false;
        first += rows;
    }
    return take_over(s);
}

static attn_nn_translations *run(search *s) {
    if (!make_all(s)) return NULL;
    begin(s);
    bool fine = s->source->count == 0 || s->from->open(s->from->user, s->source->count * s->width);
    while (fine && s->now.count > 0) fine = step_all(s);
    if (!fine) return NULL;
    attn_nn_translations *const made = attn_nn_translations_make(
        &s->tree, s->source, s->finished, s->kept, s->options.n_best, s->options.want_weights);
    if (made == NULL) (void)out_of_memory(s);
    return made;
}

attn_nn_translations *attn_nn_search_run(const attn_nn_search_source *from, attn_nn_pass *pass,
                                         const attn_nn_sentences *source,
                                         const attn_nn_search_options *options) {
    if (attn_nn_failed(pass) || !attn_nn_search_check(pass, options, from->vocabulary)) return NULL;
    search s = {.from = from, .pass = pass, .source = source, .options = *options};
    if (options->kind == ATTN_NN_GREEDY) s.options.beam = 1, s.options.patience = 1;
    s.width = options->kind == ATTN_NN_SAMPLE ? options->n_best : s.options.beam;
    s.longest = attn_nn_longest(source);
    attn_nn_translations *const made = run(&s);
    free_all(&s);
    return made;
}
