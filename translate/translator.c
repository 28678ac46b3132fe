#include "translator.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <stdlib.h>
#include <string.h>

bool translator_load(translator *t, const char *path, io_error *error) {
    *t = (translator){0};
    if (!model_file_load(path, &t->file, error)) return false;
    bool good = t->file.subwords != NULL;
    if (!good)
        io_describe(error, "%s: has no subwords: expected a model that attn train made", path);
    good = good && text_subword_from_bytes(&t->subword, t->file.subwords, t->file.subwords_size,
                                           path, error);
    if (!good) translator_free(t);
    return good;
}

bool translator_pack(translator *t, io_error *error) {
    t->packed = attn_nn_pack(attn_nn_model_layout(t->file.model), t->file.values, NULL);
    return t->packed != NULL || io_fail(error, "out of memory");
}

void translator_free(translator *t) {
    text_subword_close(t->subword);
    attn_nn_packed_free(t->packed);
    model_file_free(&t->file);
    *t = (translator){0};
}

attn_nn_search_options translator_search(const translator *t) {
    const text_subword_specials ids = text_subword_special_ids(t->subword);
    return attn_nn_search_defaults(ids.bos, ids.eos, ids.unk, ids.pad);
}

/* --- Groups of sentences -------------------------------------------------------------------------- */

/* Enough rows for each panel of weights, and each call, to serve many. */
enum { DEFAULT_ROWS = 640 };

typedef struct {
    const translator *translator;
    const attn_nn_real *values;
    const attn_nn_packed *packed;
    const translate_options *options;
    translated *results;
    const int64_t *order; /* sentences, the longest first */
    int64_t count, group; /* of sentences, in all and in a group */
    int threads;
    int64_t done;
    bool stopped;
    io_error *error;
} job;

static int threads_for(int asked) {
#ifdef _OPENMP
    if (asked <= 0) return omp_get_max_threads();
#endif
    return asked;
}

/* Sentences in a group: as many as have room for their hypotheses, but some groups for each thread, or
 * one would wait for the other at the end. */
enum { GROUPS_A_THREAD = 4 };

static int64_t group_size(int64_t count, int threads, int64_t rows, int64_t each) {
    const int64_t groups = GROUPS_A_THREAD * (int64_t)(threads > 1 ? threads : 1);
    const int64_t room = each > 0 && rows > each ? rows / each : 1;
    const int64_t even = (count + groups - 1) / groups;
    return even < 1 ? 1 : even < room ? even : room;
}

static void stop(job *j, const char *sentence) {
#pragma omp critical(translate_error)
    {
        if (!j->stopped && sentence != NULL) io_describe(j->error, "%s", sentence);
        j->stopped = true;
    }
}

/* A translation is a line of text: control characters, which bytes of rare letters can make of unlikely
 * hypotheses, become U+FFFD, as bytes that make no letter do. */
static bool tame(char **text) {
    static const char sign[] = "\xef\xbf\xbd";
    size_t size = 1;
    for (const char *c = *text; *c; c++) {
        size += (unsigned char)*c < ' ' || *c == 0x7f ? sizeof sign - 1 : 1;
    }
    char *const tamed = malloc(size), *to = tamed;
    if (tamed == NULL) return false;
    for (const char *c = *text; *c; c++) {
        if ((unsigned char)*c >= ' ' && *c != 0x7f) {
            *to++ = *c;
        } else {
            memcpy(to, sign, sizeof sign - 1);
            to += sizeof sign - 1;
        }
    }
    *to = 0;
    free(*text);
    *text = tamed;
    return true;
}

static bool keep(const job *j, const attn_nn_hypothesis *found, const text_pieces *source,
                 translation *kept) {
    const size_t tokens = (size_t)found->length;
    kept->log_p = found->log_p, kept->score = found->score, kept->length = found->length;
    kept->tokens = malloc((tokens + 1) * sizeof *kept->tokens);
    if (kept->tokens == NULL) return false;
    memcpy(kept->tokens, found->tokens, tokens * sizeof *kept->tokens);
    if (found->weights != NULL) {
        const size_t size = (tokens + 1) * (size_t)(source->count + 1) * sizeof *kept->weights;
        kept->weights = malloc(size);
        if (kept->weights == NULL) return false;
        memcpy(kept->weights, found->weights, size);
        /* Where a token is seen to look once it has been said, that is the next row's doing. */
        const attn_nn_config *const config = attn_nn_model_config(j->translator->file.model);
        const size_t row = (size_t)(source->count + 1);
        if (config->align_after) {
            memcpy(kept->weights, found->weights + row, tokens * row * sizeof *kept->weights);
        }
    }
    return text_subword_decode(j->translator->subword, kept->tokens, kept->length, &kept->text,
                               NULL) &&
           tame(&kept->text);
}

static bool keep_all(const job *j, const attn_nn_translations *found, int64_t first,
                     int64_t count) {
    for (int64_t s = 0; s < count; s++) {
        translated *const result = &j->results[j->order[first + s]];
        const int64_t begin = found->starts[s];
        result->count = found->starts[s + 1] - begin;
        result->best = calloc((size_t)result->count + 1, sizeof *result->best);
        if (result->best == NULL) return false;
        for (int64_t b = 0; b < result->count; b++) {
            if (!keep(j, &found->hypotheses[begin + b], &result->source, &result->best[b])) {
                return false;
            }
        }
    }
    return true;
}

/* Sentences order[first] .. as the model was trained on them: packed, each with its end. */
static bool pack(const job *j, int64_t first, int64_t count, int64_t *starts, int32_t **tokens) {
    const int32_t end = j->options->search.end;
    int64_t total = 0;
    for (int64_t s = 0; s < count; s++) {
        starts[s] = total;
        total += j->results[j->order[first + s]].source.count + 1;
    }
    starts[count] = total;
    *tokens = malloc((size_t)(total + 1) * sizeof **tokens);
    if (*tokens == NULL) return false;
    for (int64_t s = 0; s < count; s++) {
        const text_pieces *const pieces = &j->results[j->order[first + s]].source;
        int32_t *const to = *tokens + starts[s];
        if (pieces->count > 0) memcpy(to, pieces->id, (size_t)pieces->count * sizeof *to);
        to[pieces->count] = end;
    }
    return true;
}

static void translate_group(job *j, int64_t number, attn_nn_pass *pass, int64_t *starts) {
    const int64_t first = number * j->group;
    const int64_t count = j->count - first < j->group ? j->count - first : j->group;
    int32_t *tokens = NULL;
    if (!pack(j, first, count, starts, &tokens)) {
        stop(j, "out of memory");
        return;
    }
    const attn_nn_sentences source = {count, starts, tokens};
    attn_nn_translations *const found =
        attn_nn_search(j->translator->file.model, pass, &source, &j->options->search);
    if (found == NULL) {
        stop(j, attn_nn_error_message());
    } else if (!keep_all(j, found, first, count)) {
        stop(j, "out of memory");
    }
    attn_nn_translations_free(found);
    free(tokens);
#pragma omp critical(translate_progress)
    {
        j->done += count;
        if (!j->stopped && j->options->progress != NULL &&
            !j->options->progress(j->options->user, j->done)) {
            stop(j, "interrupted");
        }
    }
}

/* A thread's share: whichever groups are left. */
static void work(job *j, int64_t *next, int64_t groups) {
    const attn_context_options one = {.threads = 1};
    attn_context *context = NULL;
    attn_nn_arena *const arena = attn_nn_arena_create();
    int64_t *const starts = malloc((size_t)(j->group + 1) * sizeof *starts);
    if (arena == NULL || starts == NULL || attn_context_create(&context, &one) != ATTN_OK) {
        stop(j, "out of memory");
    }
    for (;;) {
        int64_t number = 0;
#pragma omp atomic capture
        number = (*next)++;
        if (number >= groups || j->stopped) break;
        attn_nn_pass pass = {
            .values = j->values, .packed = j->packed, .arena = arena, .context = context};
        translate_group(j, number, &pass, starts);
    }
    free(starts);
    attn_context_destroy(context);
    attn_nn_arena_destroy(arena);
}

/* --- Everything ----------------------------------------------------------------------------------- */

typedef struct {
    int64_t place, length;
} place_and_length;

static int longest_first(const void *a, const void *b) {
    const place_and_length *const x = a, *const y = b;
    if (x->length != y->length) return x->length < y->length ? 1 : -1;
    return x->place < y->place ? -1 : 1;
}

static int64_t *order_by_length(const translated *results, int64_t count) {
    place_and_length *const all = malloc((size_t)(count + 1) * sizeof *all);
    int64_t *const order = malloc((size_t)(count + 1) * sizeof *order);
    if (all == NULL || order == NULL) {
        free(all);
        free(order);
        return NULL;
    }
    for (int64_t i = 0; i < count; i++) all[i] = (place_and_length){i, results[i].source.count};
    qsort(all, (size_t)count, sizeof *all, longest_first);
    for (int64_t i = 0; i < count; i++) order[i] = all[i].place;
    free(all);
    return order;
}

static bool encode_all(const translator *t, const char *const *sentences, int64_t count,
                       translated *results, io_error *error) {
    for (int64_t i = 0; i < count; i++) {
        if (!text_subword_encode(t->subword, sentences[i], strlen(sentences[i]), &results[i].source,
                                 error)) {
            return false;
        }
    }
    return true;
}

static bool run(job *j) {
    const int64_t groups = (j->count + j->group - 1) / j->group;
    const translator *const t = j->translator;
    const bool ready = t->packed != NULL && j->values == t->file.values;
    attn_nn_packed *const own =
        ready ? NULL : attn_nn_pack(attn_nn_model_layout(t->file.model), j->values, NULL);
    j->packed = ready ? t->packed : own;
    if (j->packed == NULL) return io_fail(j->error, "out of memory");
    int64_t next = 0;
#pragma omp parallel num_threads(j->threads)
    work(j, &next, groups);
    attn_nn_packed_free(own);
    return !j->stopped;
}

bool translate_sentences(const translator *t, const attn_nn_real *values,
                         const char *const *sentences, int64_t count,
                         const translate_options *options, translated *results, io_error *error) {
    memset(results, 0, (size_t)count * sizeof *results);
    const attn_nn_search_options *const search = &options->search;
    const int64_t rows = options->rows > 0 ? options->rows : DEFAULT_ROWS;
    const int64_t each = search->kind == ATTN_NN_GREEDY ? 1
                         : search->kind == ATTN_NN_BEAM ? search->beam
                                                        : search->n_best;
    job j = {.translator = t,
             .values = values ? values : t->file.values,
             .options = options,
             .results = results,
             .count = count,
             .threads = threads_for(options->threads),
             .error = error};
    j.group = group_size(count, j.threads, rows, each);
    bool good = encode_all(t, sentences, count, results, error);
    int64_t *const order = good ? order_by_length(results, count) : NULL;
    if (good && order == NULL) good = io_fail(error, "out of memory");
    if (good) {
        j.order = order;
        good = run(&j);
    }
    free(order);
    if (!good) translated_free(results, count);
    return good;
}

void translated_free(translated *results, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        for (int64_t b = 0; results[i].best != NULL && b < results[i].count; b++) {
            free(results[i].best[b].text);
            free(results[i].best[b].tokens);
            free(results[i].best[b].weights);
        }
        free(results[i].best);
        text_pieces_free(&results[i].source);
        results[i] = (translated){0};
    }
}

int64_t translation_words(const translator *t, const translation *best, int32_t *word) {
    int32_t at = -1;
    for (int64_t i = 0; i < best->length; i++) {
        if (at < 0 || text_subword_begins_word(t->subword, best->tokens[i])) at++;
        word[i] = at;
    }
    word[best->length] = -1;
    return at + 1;
}
