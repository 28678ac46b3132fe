#include "training.h"

#include "config.h"
#include "corpus.h"
#include "evaluation.h"
#include "threads.h"
#include "target.h"
#include "translator.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const training_schedule_names[] = {"constant", "inverse-root", "linear", "cosine"};

typedef struct {
    const training_options *options;
    const training_watcher *watcher;
    io_error *error;

    translate_pairs pairs, dev_pairs;
    translate_corpus corpus, dev_corpus;
    translator translator; /* the model and its subwords; values are the trainer's */
    attn_nn_batches *batches, *dev_batches;
    attn_nn_trainer *trainer;
    model_state state; /* what was read, if resumed */
    int64_t epoch, index, steps, warm_up;
    uint64_t checksum; /* of the corpus */
    int64_t tokens;
    int64_t dev_count; /* of the pairs that are translated */
    bool given_up;     /* the evaluation under way is */
    double seconds;
} training;

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool nn_good(attn_status status, io_error *error) {
    return status == ATTN_OK || io_fail(error, "%s", attn_nn_error_message());
}

/* --- What decides the bits: it must be the same to go on ------------------------------------------- */

/* By the names of the options, which users know. */
static json_t *describe(const training *t) {
    const training_options *const o = t->options;
    const attn_nn_trainer_options *const r = &o->trainer;
    char sum[32];
    (void)snprintf(sum, sizeof sum, "%016" PRIx64, t->checksum);
    return json_pack(
        "{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
        "pairs", (json_int_t)t->pairs.count, "checksum of the data", sum, "vocabulary",
        (json_int_t)o->config.vocabulary, "seed", (json_int_t)r->seed, "tokens",
        (json_int_t)o->batches.tokens, "shards", (json_int_t)o->batches.shards, "max-length",
        (json_int_t)o->batches.max_length, "warm-up", (json_int_t)t->warm_up, "steps",
        (json_int_t)t->steps, "schedule", training_schedule_names[r->schedule.kind], "rate",
        r->schedule.peak, "clip", r->clip, "average", r->average_keep, "decay", r->adam.decay,
        "smoothing", r->objective.smoothing, "guide-weight", r->objective.guide, "coverage-weight",
        r->objective.coverage);
}

/* What a state does not tell, because it is older, is taken on trust. */
static bool same_options(const training *t, const json_t *then, const char *path) {
    json_t *const here = describe(t);
    const char *name = NULL;
    json_t *value = NULL;
    bool good = here != NULL || io_fail(t->error, "out of memory");
    json_object_foreach(here, name, value) {
        const json_t *const before = json_object_get(then, name);
        if (!good || !before || json_equal(before, value)) continue;
        char *const was = json_dumps(before, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        char *const is = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        good =
            io_fail(t->error, "%s: cannot be resumed with other options: %s was %s and is now %s",
                    path, name, was ? was : "another", is ? is : "another");
        free(was);
        free(is);
    }
    json_decref(here);
    return good;
}

/* The model that the options ask for is the one that is there, but for how many subwords there were. */
static bool same_model(const training *t) {
    const attn_nn_config *const there = attn_nn_model_config(t->translator.file.model);
    attn_nn_config asked = t->options->config;
    attn_nn_model *model = NULL;
    asked.vocabulary = there->vocabulary;
    if (!nn_good(attn_nn_model_create(&model, &asked), t->error)) return false;
    const char *const name = model_config_difference(attn_nn_model_config(model), there);
    attn_nn_model_destroy(model);
    return name == NULL || io_fail(t->error,
                                   "%s: cannot be resumed as another model: its %s is not what the "
                                   "options ask for",
                                   t->options->output, name);
}

/* --- Beginning ------------------------------------------------------------------------------------ */

/* Hours of work are not to end in a folder that is not there. */
static bool check_output(const training *t) {
    const char *const path = t->options->output;
    io_target model = {0}, state = {0};
    char *const state_path = model_state_path(path);
    const bool good = (state_path || io_fail(t->error, "out of memory")) &&
                      io_target_open(&model, path, t->error) &&
                      io_target_open(&state, state_path, t->error);
    io_target_discard(&model);
    io_target_discard(&state);
    free(state_path);
    return good;
}

static bool read_text(training *t) {
    const training_options *const o = t->options;
    return translate_pairs_read(&t->pairs, o->data, o->data_count, t->error) &&
           (o->dev == NULL || (translate_pairs_read(&t->dev_pairs, &o->dev, 1, t->error) &&
                               translate_pairs_short(&t->dev_pairs, &o->dev, t->error)));
}

static bool new_model(training *t) {
    attn_nn_config config = t->options->config;
    text_subword **const subword = &t->translator.subword;
    if (!translate_train_subwords(subword, &t->pairs, (int32_t)config.vocabulary, t->error)) {
        return false;
    }
    config.vocabulary = text_subword_vocabulary(*subword);
    return nn_good(attn_nn_model_create(&t->translator.file.model, &config), t->error);
}

static bool old_model(training *t) {
    const char *const path = t->options->output;
    return translator_load(&t->translator, path, t->error) && same_model(t) &&
           model_state_load(path, t->translator.file.model, &t->state, t->error);
}

static bool open_batches(training *t) {
    attn_nn_batches_options o = t->options->batches;
    const text_subword_specials ids = text_subword_special_ids(t->translator.subword);
    const text_subword *const subword = t->translator.subword;
    o.begin = ids.bos, o.end = ids.eos, o.seed = t->options->trainer.seed;
    if (!translate_corpus_make(&t->corpus, &t->pairs, subword, t->options->guides, t->error) ||
        !nn_good(attn_nn_batches_open(&t->corpus.corpus, &o, &t->batches), t->error)) {
        return false;
    }
    t->checksum = translate_corpus_checksum(&t->corpus);
    if (t->options->dev == NULL) return true;
    o.in_order = true, o.max_length = 0;
    return translate_corpus_make(&t->dev_corpus, &t->dev_pairs, subword, NULL, t->error) &&
           nn_good(attn_nn_batches_open(&t->dev_corpus.corpus, &o, &t->dev_batches), t->error);
}

static bool open_trainer(training *t) {
    attn_nn_trainer_options o = t->options->trainer;
    o.shards = t->options->batches.shards;
    t->steps = t->options->steps;
    for (int64_t e = 0; t->options->steps == 0 && e < t->options->epochs; e++) {
        t->steps += attn_nn_batches_count(t->batches, e);
    }
    if (o.schedule.steps == 0) o.schedule.steps = t->steps;
    if (o.schedule.warm_up < 0) {
        const int64_t tenth = t->steps / 10;
        o.schedule.warm_up = tenth < TRAINING_WARM_UP ? tenth : TRAINING_WARM_UP;
    }
    t->warm_up = o.schedule.warm_up;
    return nn_good(attn_nn_trainer_create(&t->trainer, t->translator.file.model, &o), t->error);
}

static bool go_on(training *t) {
    const int64_t size = attn_nn_model_layout(t->translator.file.model)->size;
    const size_t bytes = (size_t)size * sizeof(attn_nn_real);
    attn_nn_training *const to = attn_nn_trainer_state(t->trainer);
    if (!same_options(t, t->state.options, t->options->output)) return false;
    if (to->average && !t->state.average) return io_fail(t->error, "the state has no average");
    memcpy(to->values, t->state.values, bytes);
    memcpy(to->mean, t->state.first, bytes);
    memcpy(to->square, t->state.second, bytes);
    if (to->average) memcpy(to->average, t->state.average, bytes);
    to->step = t->state.step;
    t->epoch = t->state.epoch, t->index = t->state.position;
    return true;
}

static bool begin(training *t) {
    const bool resume = t->options->resume;
    return check_output(t) && read_text(t) && (resume ? old_model(t) : new_model(t)) &&
           open_batches(t) && open_trainer(t) && (!resume || go_on(t));
}

/* --- Saving and evaluating ------------------------------------------------------------------------- */

/* What is worth using: the average, if there is one. */
static attn_nn_real *best_values(const training *t) {
    const attn_nn_training *const state = attn_nn_trainer_state(t->trainer);
    return state->average && state->step > 0 ? state->average : state->values;
}

static bool save(training *t) {
    const attn_nn_training *const now_at = attn_nn_trainer_state(t->trainer);
    size_t size = 0;
    const void *const bytes = text_subword_bytes(t->translator.subword, &size);
    json_t *const options = describe(t), *const known = json_copy(options);
    if (json_object_set_new(known, "step", json_integer(now_at->step)) != 0) {
        json_decref(options);
        json_decref(known);
        return io_fail(t->error, "out of memory");
    }
    const model_file file = {.model = t->translator.file.model,
                             .values = best_values(t),
                             .subwords = (unsigned char *)(uintptr_t)bytes,
                             .subwords_size = size,
                             .training = known};
    const model_state state = {.values = now_at->values,
                               .first = now_at->mean,
                               .second = now_at->square,
                               .average = now_at->average,
                               .step = now_at->step,
                               .epoch = t->epoch,
                               .position = t->index,
                               .seed = t->options->trainer.seed,
                               .options = options};
    const bool good =
        model_state_save(t->options->output, &file, t->options->precision, &state, t->error);
    json_decref(options);
    json_decref(known);
    if (good && t->watcher->saved) t->watcher->saved(t->watcher->user, now_at->step);
    return good;
}

static bool keep_on(void *user, int64_t done) {
    training *const t = user;
    const training_watcher *const w = t->watcher;
    if (w->evaluating && !w->evaluating(w->user, done, t->dev_count)) t->given_up = true;
    return !t->given_up;
}

static bool score(training *t, training_evaluation *e) {
    const int64_t all = t->dev_pairs.count, most = t->options->dev_sentences;
    const int64_t count = most > 0 && most < all ? most : all;
    t->dev_count = count, t->given_up = false;
    const char **const sources = malloc((size_t)(count + 1) * sizeof *sources);
    translated *const results = calloc((size_t)count + 1, sizeof *results);
    evaluation scores = {0};
    bool good = (sources && results) || io_fail(t->error, "out of memory");
    for (int64_t i = 0; good && i < count; i++) {
        sources[i] = translate_pairs_source(&t->dev_pairs, i);
    }
    translate_options how = {.search = translator_search(&t->translator),
                             .threads = t->options->trainer.threads,
                             .progress = keep_on,
                             .user = t};
    how.search.kind = ATTN_NN_GREEDY;
    good = good && evaluation_open(&scores, count, t->error) &&
           translate_sentences(&t->translator, e->values, sources, count, &how, results, t->error);
    for (int64_t i = 0; good && i < count; i++) {
        good = evaluation_count(&scores, i, results[i].best[0].text,
                                translate_pairs_target(&t->dev_pairs, i), t->error);
    }
    if (good) {
        e->bleu = evaluation_bleu(&scores, NULL, count);
        e->chrf = evaluation_chrf(&scores, NULL, count);
    }
    evaluation_free(&scores);
    translated_free(results, results ? count : 0);
    free(results);
    free(sources);
    return good;
}

static bool evaluate(training *t) {
    if (t->dev_batches == NULL || t->watcher->evaluated == NULL) return true;
    training_evaluation e = {.step = attn_nn_trainer_state(t->trainer)->step,
                             .translator = &t->translator,
                             .values = best_values(t)};
    if (!nn_good(attn_nn_trainer_loss(t->trainer, t->dev_batches, e.values, &e.loss), t->error)) {
        return false;
    }
    const bool good = score(t, &e);
    if (t->given_up) return true; /* the step that follows is the last */
    return good && t->watcher->evaluated(t->watcher->user, &e, t->error);
}

/* --- The loop ------------------------------------------------------------------------------------- */

static bool step(training *t, bool *go_on_training) {
    training_progress p = {.steps = t->steps, .epoch = t->epoch};
    const double start = now();
    if (!nn_good(attn_nn_trainer_step(t->trainer, t->batches, t->epoch, t->index, &p.report),
                 t->error)) {
        return false;
    }
    attn_nn_batches_next(t->batches, &t->epoch, &t->index);
    t->tokens += p.report.loss.rows;
    t->seconds += now() - start;
    p.step = attn_nn_trainer_state(t->trainer)->step;
    p.tokens = t->tokens, p.seconds = t->seconds;
    p.bytes = attn_nn_trainer_bytes(t->trainer);
    if (!isfinite(p.report.loss.sum)) {
        return io_fail(t->error, "step %lld: the loss is not finite: try a lower --rate",
                       (long long)p.step);
    }
    if (t->watcher->stepped) *go_on_training = t->watcher->stepped(t->watcher->user, &p);
    return true;
}

static bool is_due(int64_t step, int64_t every) {
    return every > 0 && step % every == 0;
}

static bool loop(training *t) {
    const training_options *const o = t->options;
    const attn_nn_training *const state = attn_nn_trainer_state(t->trainer);
    bool going = true;
    /* Nothing is left to do: it is saved all the same, perhaps in another precision. */
    if (state->step >= t->steps) return save(t) && evaluate(t);
    while (going && state->step < t->steps) {
        if (!step(t, &going)) return false;
        const bool last = state->step == t->steps;
        if ((last || !going || is_due(state->step, o->save_every)) && !save(t)) return false;
        if ((last || (going && is_due(state->step, o->dev_every))) && !evaluate(t)) return false;
    }
    return true;
}

bool train(const training_options *options, const training_watcher *watcher, io_error *error) {
    training_options own = *options;
    training t = {.options = &own, .watcher = watcher, .error = error};
    own.trainer.threads = translate_use_threads(own.trainer.threads);
    bool good = begin(&t);
    if (good && watcher->began) {
        watcher->began(watcher->user, attn_nn_batches_pairs(t.batches),
                       attn_nn_model_layout(t.translator.file.model)->size,
                       text_subword_vocabulary(t.translator.subword), t.steps);
    }
    good = good && loop(&t);
    attn_nn_trainer_destroy(t.trainer);
    attn_nn_batches_close(t.batches);
    attn_nn_batches_close(t.dev_batches);
    translate_corpus_free(&t.corpus);
    translate_corpus_free(&t.dev_corpus);
    translate_pairs_free(&t.pairs);
    translate_pairs_free(&t.dev_pairs);
    model_state_free(&t.state);
    translator_free(&t.translator);
    return good;
}
