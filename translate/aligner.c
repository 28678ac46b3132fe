#include "aligner.h"

#include "batches.h"

#include <stdlib.h>
#include <string.h>

align_options align_defaults(void) {
    return (align_options){
        .pooling = TEXT_POOL_MEAN, .rule = TEXT_RULE_INTERSECTION, .threshold = ALIGN_USUAL};
}

bool align_possible(const translator *t) {
    const attn_nn_config *const config = attn_nn_model_config(t->file.model);
    return config->family == ATTN_NN_TRANSFORMER || config->look != ATTN_NN_LOOK_NONE;
}

static double threshold_of(const align_options *options) {
    if (options->threshold >= 0) return options->threshold;
    return options->rule == TEXT_RULE_THRESHOLD || options->rule == TEXT_RULE_MUTUAL ? 0.3 : 0;
}

/* Weights between subwords to links between words. */
static bool extract(const text_weights *weights, int64_t target_words, int64_t source_words,
                    const align_options *options, text_links *links, io_error *error) {
    const size_t size = (size_t)(target_words * source_words) + 1;
    float *const folded = malloc(size * sizeof *folded);
    bool good =
        folded && text_weights_fold(weights, options->pooling, target_words, source_words, folded);
    if (!good) io_describe(error, "out of memory");
    const text_extraction extraction = {.forward = folded,
                                        .targets = target_words,
                                        .sources = source_words,
                                        .rule = options->rule,
                                        .threshold = threshold_of(options)};
    good = good && text_links_extract(links, &extraction, error);
    free(folded);
    return good;
}

/* --- Pairs ---------------------------------------------------------------------------------------- */

/* A pair's pieces, and the word of each; the end of either sentence is no word. */
typedef struct {
    text_pieces source, target;
    int32_t *source_word, *target_word; /* [pieces + 1] */
    int64_t source_words, target_words;
} side_by_side;

typedef struct {
    const translator *translator;
    const align_options *options;
    const attn_nn_real *values;      /* NULL: the model's own */
    const char *const *sentences[2]; /* sources and targets, [count] */
    side_by_side *pairs;             /* [count] */
    text_links *links;               /* [count]; or NULL, and: */
    translation_grid *grids;
    int64_t count;
    attn_nn_corpus corpus;
    int64_t *starts[2];
    int32_t *tokens[2];
    io_error *error;
} job;

static bool cut(const translator *t, const char *sentence, text_pieces *pieces, int32_t **word,
                int64_t *words, io_error *error) {
    if (!text_subword_encode(t->subword, sentence, strlen(sentence), pieces, error)) return false;
    *word = malloc((size_t)(pieces->count + 1) * sizeof **word);
    if (*word == NULL) return io_fail(error, "out of memory");
    *words = text_pieces_words(pieces, sentence, *word);
    (*word)[pieces->count] = -1;
    return true;
}

static bool flatten(job *j, int side) {
    int64_t total = 0;
    j->starts[side] = malloc((size_t)(j->count + 1) * sizeof(int64_t));
    for (int64_t i = 0; j->starts[side] && i < j->count; i++) {
        j->starts[side][i] = total;
        total += (side ? &j->pairs[i].target : &j->pairs[i].source)->count;
    }
    j->tokens[side] = malloc((size_t)(total + 1) * sizeof(int32_t));
    if (!j->starts[side] || !j->tokens[side]) return io_fail(j->error, "out of memory");
    j->starts[side][j->count] = total;
    for (int64_t i = 0; i < j->count; i++) {
        const text_pieces *const p = side ? &j->pairs[i].target : &j->pairs[i].source;
        if (p->count == 0) continue;
        memcpy(j->tokens[side] + j->starts[side][i], p->id, (size_t)p->count * sizeof(int32_t));
    }
    return true;
}

static bool prepare(job *j) {
    const translator *const t = j->translator;
    j->pairs = calloc((size_t)j->count + 1, sizeof *j->pairs);
    if (j->pairs == NULL) return io_fail(j->error, "out of memory");
    for (int64_t i = 0; i < j->count; i++) {
        side_by_side *const p = &j->pairs[i];
        if (!cut(t, j->sentences[0][i], &p->source, &p->source_word, &p->source_words, j->error) ||
            !cut(t, j->sentences[1][i], &p->target, &p->target_word, &p->target_words, j->error)) {
            return false;
        }
    }
    if (!flatten(j, 0) || !flatten(j, 1)) return false;
    j->corpus = (attn_nn_corpus){.pairs = j->count,
                                 .source_starts = j->starts[0],
                                 .target_starts = j->starts[1],
                                 .source_tokens = j->tokens[0],
                                 .target_tokens = j->tokens[1]};
    return true;
}

/* The mean of the chosen heads, of one pair: [target pieces, source pieces + 1]. Row r says piece r;
 * after it was said it is row r + 1 that looks. */
static bool pair_weights(const job *j, const attn_nn_real *all, int64_t heads, int64_t rows,
                         int64_t longest, int64_t first_row, const side_by_side *p, float *mean) {
    const align_options *const o = j->options;
    const attn_nn_config *const config = attn_nn_model_config(j->translator->file.model);
    const int64_t taught = config->align_heads < heads ? config->align_heads : heads;
    const int64_t count = o->head_count > 0 ? o->head_count : taught;
    const int64_t columns = p->source.count + 1;
    const bool as_taught = o->head_count == 0 && o->layer == 0 && config->align_after;
    const int64_t after = o->shifted || as_taught ? 1 : 0;
    memset(mean, 0, (size_t)(p->target.count * columns) * sizeof *mean);
    for (int64_t h = 0; h < count; h++) {
        const int64_t head = o->head_count > 0 ? o->heads[h] : h;
        if (head >= heads) {
            return io_fail(j->error, "head %lld: expected one below %lld", (long long)head,
                           (long long)heads);
        }
        for (int64_t r = 0; r < p->target.count; r++) {
            const attn_nn_real *const row = all + (head * rows + first_row + r + after) * longest;
            for (int64_t k = 0; k < columns; k++) {
                mean[r * columns + k] += (float)(row[k] / (attn_nn_real)count);
            }
        }
    }
    return true;
}

static bool align_pair(job *j, const attn_nn_real *all, int64_t heads, int64_t rows,
                       int64_t longest, int64_t first_row, int64_t place) {
    side_by_side *const p = &j->pairs[place];
    float *const mean =
        malloc(((size_t)p->target.count * (size_t)(p->source.count + 1) + 1) * sizeof *mean);
    if (mean == NULL) return io_fail(j->error, "out of memory");
    const text_weights weights = {.weight = mean,
                                  .stride = p->source.count + 1,
                                  .targets = p->target.count,
                                  .sources = p->source.count,
                                  .target_word = p->target_word,
                                  .source_word = p->source_word};
    bool good = pair_weights(j, all, heads, rows, longest, first_row, p, mean);
    if (good && j->links) {
        good = extract(&weights, p->target_words, p->source_words, j->options, &j->links[place],
                       j->error);
    } else if (good) {
        good = translation_grid_fold(&j->grids[place], &weights, j->sentences[0][place],
                                     p->source_words, j->sentences[1][place], p->target_words,
                                     j->error);
    }
    free(mean);
    return good;
}

static bool align_batch(void *user, attn_nn_pass *pass, const attn_nn_batch *batch,
                        const int64_t *places, io_error *error) {
    job *const j = user;
    const attn_nn_model *const model = j->translator->file.model;
    const int64_t layer =
        j->options->layer > 0 ? j->options->layer : attn_nn_model_config(model)->align_layer;
    int64_t heads = 0, longest = 0;
    const attn_nn_real *const all =
        attn_nn_model_weights(model, pass, batch, layer - 1, &heads, &longest);
    if (all == NULL) return io_fail(error, "the model has no attention");
    const int64_t rows = batch->target.starts[batch->target.count];
    for (int64_t s = 0; s < batch->target.count; s++) {
        if (!align_pair(j, all, heads, rows, longest, batch->target.starts[s], places[s])) {
            return false;
        }
    }
    return true;
}

static bool run(job *j) {
    const bool good =
        prepare(j) && translate_each_batch(j->translator, j->values, &j->corpus,
                                           j->options->threads, align_batch, j, j->error);
    for (int64_t i = 0; j->pairs && i < j->count; i++) {
        text_pieces_free(&j->pairs[i].source);
        text_pieces_free(&j->pairs[i].target);
        free(j->pairs[i].source_word);
        free(j->pairs[i].target_word);
    }
    free(j->pairs);
    for (int side = 0; side < 2; side++) {
        free(j->starts[side]);
        free(j->tokens[side]);
    }
    return good;
}

bool align_pairs(const translator *t, const char *const *sources, const char *const *targets,
                 int64_t count, const align_options *options, text_links *links, io_error *error) {
    job j = {.translator = t,
             .options = options,
             .sentences = {sources, targets},
             .links = links,
             .count = count,
             .error = error};
    return run(&j);
}

bool align_weights(const translator *t, const attn_nn_real *values, const char *source,
                   const char *target, const align_options *options, translation_grid *grid,
                   io_error *error) {
    job j = {.translator = t,
             .options = options,
             .values = values,
             .sentences = {&source, &target},
             .grids = grid,
             .count = 1,
             .error = error};
    *grid = (translation_grid){0};
    return run(&j);
}

/* --- Translations --------------------------------------------------------------------------------- */

bool align_translation(const translator *t, const char *sentence, const translated *result,
                       const translation *best, const align_options *options, text_links *links,
                       io_error *error) {
    translation_look look;
    const bool good = translation_look_make(&look, t, sentence, result, best, error) &&
                      extract(&look.weights, look.targets, look.sources, options, links, error);
    free(look.words);
    return good;
}
