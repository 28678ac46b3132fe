/* Each allocation, and each piece that a pass takes of its arena, fails in turn: the call says so, leaks
 * nothing, and what it was made with does afterwards what it would have done. */
#include "differences.h"
#include "heap.h"

#include "nn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { VOCABULARY = 11, BEGIN = 0, END = 1, UNKNOWN = 2, PAD = 3 };

/* Makes and calls what is tried, with the n-th allocation of the call failing (heap_fail_at), checks what is
 * left afterwards, and gives all back. Returns the status of the first call that failed. */
typedef attn_status attempt(const void *of, int64_t n);

static void check_failures(attempt *try, const void *of, int64_t least) {
    const int64_t live = heap_live();
    int64_t n = 0;
    for (bool failed = true; failed;) {
        const attn_status status = try(of, ++n);
        failed = heap_failed();
        heap_fail_at(0);
        assert_int_equal(status, failed ? ATTN_ERROR_MEMORY : ATTN_OK);
        if (failed) assert_non_null(strstr(attn_nn_error_message(), "memory"));
        assert_int_equal(heap_live(), live);
    }
    assert_true(n > least);
}

/* One of each way that memory is taken: norms, positions, looks, cells. */
static attn_nn_config config_of(int kind) {
    attn_nn_config c = {.vocabulary = VOCABULARY, .width = 8, .heads = 2, .hidden = 6};
    c.encoder_layers = 1, c.decoder_layers = 2, c.dropout = 0.1, c.attention_dropout = 0.1;
    c.family = kind < 3 ? ATTN_NN_TRANSFORMER : ATTN_NN_RECURRENT;
    c.positions = kind == 0 ? ATTN_NN_ROTARY : kind == 1 ? ATTN_NN_RELATIVE : ATTN_NN_LEARNED;
    c.post_norm = kind == 1, c.untied = kind == 1;
    c.look = kind == 3   ? ATTN_NN_LOOK_ADDITIVE
             : kind == 4 ? ATTN_NN_LOOK_MULTI_HEAD
             : kind == 5 ? ATTN_NN_LOOK_LOCATION
                         : ATTN_NN_LOOK_NONE;
    c.cell = kind == 4 ? ATTN_NN_GRU : ATTN_NN_LSTM;
    c.coverage = kind == 3, c.copy = kind == 2 || kind == 3;
    return c;
}
enum { KINDS = 7 };

static bool looks(int kind) {
    return kind < KINDS - 1;
}

/* With an arena and a context that have not been used. */
static fixture fresh(fixture f) {
    const attn_context_options one = {.threads = 1};
    f.arena = attn_nn_arena_create();
    assert_non_null(f.arena);
    assert_int_equal(attn_context_create(&f.context, &one), ATTN_OK);
    return f;
}

static void close_fresh(const fixture *f) {
    attn_nn_arena_destroy(f->arena);
    attn_context_destroy(f->context);
}

/* --- Models --------------------------------------------------------------------------------------- */

static attn_status make_model(const void *of, int64_t n) {
    attn_nn_model *model = NULL;
    heap_fail_at(n);
    const attn_status status = attn_nn_model_create(&model, of);
    assert_int_equal(model != NULL, status == ATTN_OK);
    attn_nn_model_destroy(model);
    return status;
}

/* The model, its layers, its names. */
static void models(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        const attn_nn_config config = config_of(kind);
        check_failures(make_model, &config, 3);
    }
}

/* NULL is all that it says. */
static attn_status pack(const void *of, int64_t n) {
    const fixture *const f = of;
    heap_fail_at(n);
    attn_nn_packed *const packed =
        attn_nn_pack(attn_nn_model_layout(f->model), f->values, f->context);
    const bool good = packed != NULL;
    attn_nn_packed_free(packed);
    return good ? ATTN_OK : attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
}

static void packed_matrices(void **state) {
    (void)state;
    const attn_nn_config config = config_of(0);
    fixture f;
    open_fixture(&f, &config, 3);
    check_failures(pack, &f, 2);
    close_fixture(&f);
}

/* --- A pass forward and back, and weights --------------------------------------------------------- */

typedef struct pass_case {
    fixture f;
    small_batch small;
    attn_nn_objective objective;
    double loss;
    attn_nn_real *gradients; /* as they are to be */
    size_t size;             /* of them, in bytes */
} pass_case;

static attn_nn_loss loss_of(const fixture *f, const pass_case *p, attn_nn_pass *pass) {
    attn_nn_loss loss;
    *pass = fixture_pass(f, true);
    const size_t mark = attn_nn_mark(pass);
    memset(f->gradients, 0, p->size);
    attn_nn_model_loss(f->model, pass, &p->small.batch, &p->objective, &loss);
    attn_nn_release(pass, mark);
    return loss;
}

static attn_status go_forward_and_back(const void *of, int64_t n) {
    const pass_case *const p = of;
    const fixture f = fresh(p->f);
    attn_nn_pass pass, again;
    heap_fail_at(n);
    (void)loss_of(&f, p, &pass);
    heap_fail_at(0);
    assert_true(loss_of(&f, p, &again).sum == p->loss);
    assert_int_equal(again.status, ATTN_OK);
    assert_memory_equal(f.gradients, p->gradients, p->size);
    close_fresh(&f);
    return pass.status;
}

static attn_status ask_for_weights(const void *of, int64_t n) {
    const pass_case *const p = of;
    const fixture f = fresh(p->f);
    attn_nn_pass pass = fixture_pass(&f, false), again = pass;
    int64_t heads = 0, longest = 0;
    heap_fail_at(n);
    const attn_nn_real *const weights =
        attn_nn_model_weights(f.model, &pass, &p->small.batch, 0, &heads, &longest);
    heap_fail_at(0);
    assert_int_equal(weights != NULL, pass.status == ATTN_OK);
    attn_nn_release(&again, 0);
    assert_non_null(attn_nn_model_weights(f.model, &again, &p->small.batch, 0, &heads, &longest));
    close_fresh(&f);
    return pass.status;
}

static void open_pass(pass_case *p, int kind) {
    const attn_nn_config config = config_of(kind);
    attn_nn_pass pass;
    open_fixture(&p->f, &config, 3);
    p->f.training = true;
    make_small_batch(&p->small, VOCABULARY, 5);
    p->objective = (attn_nn_objective){.smoothing = 0.1, .scale = 0.25};
    p->objective.guide = looks(kind) ? 0.3 : 0, p->objective.coverage = config.coverage ? 0.7 : 0;
    p->size = (size_t)attn_nn_model_layout(p->f.model)->size * sizeof(attn_nn_real);
    p->loss = loss_of(&p->f, p, &pass).sum;
    assert_int_equal(pass.status, ATTN_OK);
    p->gradients = malloc(p->size);
    memcpy(p->gradients, p->f.gradients, p->size);
}

/* A model's layers take more than a piece each. */
static void passes(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        pass_case p;
        open_pass(&p, kind);
        check_failures(go_forward_and_back, &p, 20);
        if (looks(kind)) check_failures(ask_for_weights, &p, 10);
        free(p.gradients);
        close_fixture(&p.f);
    }
}

/* --- Batches and training ------------------------------------------------------------------------- */

enum { PAIRS = 6, SHARDS = 2 };
static const int64_t starts[PAIRS + 1] = {0, 2, 5, 6, 10, 12, 15};
static const int32_t source[] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 2, 4, 6, 8, 10, 3};
static const int32_t target[] = {9, 8, 7, 6, 5, 4, 3, 2, 10, 9, 7, 5, 3, 2, 8};
static const int64_t link_starts[PAIRS + 1] = {0, 1, 2, 3, 4, 5, 6};
static const attn_nn_link links[PAIRS] = {{1, 0}, {2, 1}, {0, 0}, {3, 3}, {0, 1}, {1, 2}};
static const attn_nn_corpus corpus = {
    .pairs = PAIRS,
    .source_starts = starts,
    .target_starts = starts,
    .source_tokens = source,
    .target_tokens = target,
    .guide_starts = link_starts,
    .guide_links = links,
};
static const attn_nn_batches_options cut = {
    .tokens = 16, .shards = SHARDS, .begin = BEGIN, .end = END};

/* All shards of an epoch; what fails is asked for again. Returns the rows of all. */
static int64_t walk(attn_nn_batches *b, attn_status *status) {
    int64_t rows = 0;
    for (int64_t i = 0; i < attn_nn_batches_count(b, 0); i++) {
        for (int64_t s = 0; s < SHARDS; s++) {
            attn_nn_batch batch;
            const attn_status of = attn_nn_batches_get(b, 0, i, s, &batch, NULL);
            if (of != ATTN_OK) {
                *status = of;
                assert_int_equal(attn_nn_batches_get(b, 0, i, s, &batch, NULL), ATTN_OK);
            }
            rows += attn_nn_rows(&batch.source) + attn_nn_rows(&batch.target);
        }
    }
    return rows;
}

static attn_status cut_into_batches(const void *of, int64_t n) {
    attn_nn_batches *b = NULL;
    heap_fail_at(n);
    attn_status status = attn_nn_batches_open(of, &cut, &b);
    assert_int_equal(b != NULL, status == ATTN_OK);
    if (b != NULL) assert_int_equal(walk(b, &status), 2 * (starts[PAIRS] + PAIRS));
    attn_nn_batches_close(b);
    return status;
}

/* Seven arrays to open, and a shard's own. */
static void batches(void **state) {
    (void)state;
    check_failures(cut_into_batches, &corpus, 8);
}

enum { STEPS = 2 };

typedef struct training_case {
    attn_nn_model *model;
    attn_nn_trainer_options options;
    size_t size;                     /* of values, in bytes */
    attn_nn_real *values[STEPS + 1]; /* after so many steps */
    double loss;                     /* in the end */
} training_case;

/* All steps, and the loss. What fails changed nothing, and is done again. */
static attn_status run_training(const training_case *t, attn_nn_trainer *trainer,
                                attn_nn_batches *b) {
    const attn_nn_training *const state = attn_nn_trainer_state(trainer);
    attn_nn_step_report report;
    attn_nn_loss loss;
    attn_status status = ATTN_OK;
    while (state->step < STEPS) {
        const int64_t step = state->step;
        const attn_status of = attn_nn_trainer_step(trainer, b, 0, step, &report);
        if (of != ATTN_OK) status = of;
        assert_int_equal(state->step, of == ATTN_OK ? step + 1 : step);
        assert_memory_equal(state->values, t->values[state->step], t->size);
    }
    const attn_status of = attn_nn_trainer_loss(trainer, b, state->values, &loss);
    if (of != ATTN_OK) {
        status = of;
        assert_int_equal(attn_nn_trainer_loss(trainer, b, state->values, &loss), ATTN_OK);
    }
    assert_true(loss.sum == t->loss);
    return status;
}

static attn_status train(const void *of, int64_t n) {
    const training_case *const t = of;
    attn_nn_batches *b = NULL;
    attn_nn_trainer *trainer = NULL;
    assert_int_equal(attn_nn_batches_open(&corpus, &cut, &b), ATTN_OK);
    heap_fail_at(n);
    attn_status status = attn_nn_trainer_create(&trainer, t->model, &t->options);
    assert_int_equal(trainer != NULL, status == ATTN_OK);
    if (trainer != NULL) status = run_training(t, trainer, b);
    attn_nn_trainer_destroy(trainer);
    attn_nn_batches_close(b);
    return status;
}

static void open_training(training_case *t, int kind) {
    const attn_nn_config config = config_of(kind);
    attn_nn_batches *b = NULL;
    attn_nn_trainer *trainer = NULL;
    attn_nn_step_report report;
    attn_nn_loss loss;
    t->options = (attn_nn_trainer_options){
        .threads = 1, .shards = SHARDS, .schedule.peak = 0.01, .average_keep = 0.9, .seed = 3};
    t->options.objective.guide = 0.3;
    assert_int_equal(attn_nn_model_create(&t->model, &config), ATTN_OK);
    assert_int_equal(attn_nn_batches_open(&corpus, &cut, &b), ATTN_OK);
    assert_true(attn_nn_batches_count(b, 0) >= STEPS);
    assert_int_equal(attn_nn_trainer_create(&trainer, t->model, &t->options), ATTN_OK);
    t->size = (size_t)attn_nn_model_layout(t->model)->size * sizeof(attn_nn_real);
    for (int i = 0; i <= STEPS; i++) {
        t->values[i] = malloc(t->size);
        memcpy(t->values[i], attn_nn_trainer_state(trainer)->values, t->size);
        if (i == STEPS) break;
        assert_int_equal(attn_nn_trainer_step(trainer, b, 0, i, &report), ATTN_OK);
    }
    assert_int_equal(attn_nn_trainer_loss(trainer, b, t->values[STEPS], &loss), ATTN_OK);
    t->loss = loss.sum;
    attn_nn_trainer_destroy(trainer);
    attn_nn_batches_close(b);
}

/* Two shards' passes, twice forward and back and once forward, after a trainer's own arrays. */
static void training(void **state) {
    (void)state;
    for (int kind = 2; kind <= 3; kind++) {
        training_case t;
        open_training(&t, kind);
        check_failures(train, &t, 100);
        for (int i = 0; i <= STEPS; i++) free(t.values[i]);
        attn_nn_model_destroy(t.model);
    }
}

/* --- Search --------------------------------------------------------------------------------------- */

static const int64_t source_starts[] = {0, 4, 6, 13};
static const int32_t words[] = {4, 9, 7, 1, 10, 1, 8, 8, 10, 5, 6, 7, 1};
static const attn_nn_sentences sources = {3, source_starts, words};

enum { MODELS = 2 };

typedef struct search_case {
    fixture f[MODELS];
    int64_t count; /* of models that search together */
    attn_nn_search_options options;
    attn_nn_translations *expected;
} search_case;

static attn_nn_translations *search(const search_case *s, const fixture *f, attn_nn_pass *passes) {
    const attn_nn_model *models[MODELS];
    attn_nn_pass *each[MODELS];
    for (int64_t i = 0; i < s->count; i++) {
        passes[i] = fixture_pass(&f[i], false);
        models[i] = f[i].model, each[i] = &passes[i];
    }
    return attn_nn_search_together(models, each, s->count, &sources, &s->options);
}

static void assert_equal(const attn_nn_translations *a, const attn_nn_translations *b) {
    assert_memory_equal(a->starts, b->starts, (size_t)(sources.count + 1) * sizeof *a->starts);
    for (int64_t s = 0; s < sources.count; s++) {
        const int64_t rows = source_starts[s + 1] - source_starts[s];
        for (int64_t h = a->starts[s]; h < a->starts[s + 1]; h++) {
            const attn_nn_hypothesis *const x = &a->hypotheses[h], *const y = &b->hypotheses[h];
            assert_int_equal(x->length, y->length);
            assert_memory_equal(x->tokens, y->tokens, (size_t)x->length * sizeof *x->tokens);
            assert_true(x->log_p == y->log_p && x->score == y->score);
            assert_memory_equal(x->weights, y->weights,
                                (size_t)((x->length + 1) * rows) * sizeof *x->weights);
        }
    }
}

/* The arenas have in use what they had, whatever failed. */
static attn_status try_search(const void *of, int64_t n) {
    const search_case *const s = of;
    fixture f[MODELS];
    attn_nn_pass passes[MODELS], again[MODELS];
    for (int64_t i = 0; i < s->count; i++) f[i] = fresh(s->f[i]);
    heap_fail_at(n);
    attn_nn_translations *const found = search(s, f, passes);
    heap_fail_at(0);
    assert_int_equal(found != NULL, passes[0].status == ATTN_OK);
    for (int64_t i = 0; i < s->count; i++) assert_int_equal(attn_nn_mark(&passes[i]), 0);
    attn_nn_translations *const second = search(s, f, again);
    assert_non_null(second);
    assert_equal(second, s->expected);
    attn_nn_translations_free(found);
    attn_nn_translations_free(second);
    for (int64_t i = 0; i < s->count; i++) close_fresh(&f[i]);
    return passes[0].status;
}

static void check_search(const int *kinds, int64_t count, const attn_nn_search_options *options) {
    search_case s = {.count = count, .options = *options};
    attn_nn_pass passes[MODELS];
    for (int64_t i = 0; i < count; i++) {
        const attn_nn_config config = config_of(kinds[i]);
        open_fixture(&s.f[i], &config, 3 + (uint64_t)i);
    }
    s.expected = search(&s, s.f, passes);
    assert_non_null(s.expected);
    check_failures(try_search, &s, 40);
    attn_nn_translations_free(s.expected);
    for (int64_t i = 0; i < count; i++) close_fixture(&s.f[i]);
}

static attn_nn_search_options options_of(attn_nn_search_kind kind, int64_t n_best) {
    attn_nn_search_options o = attn_nn_search_defaults(BEGIN, END, UNKNOWN, PAD);
    o.kind = kind, o.beam = 3, o.n_best = n_best, o.want_weights = true;
    o.min_length = o.max_length = 3;
    return o;
}

/* Four steps, of ten pieces at least. */
static void searches(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        const attn_nn_search_options greedy = options_of(ATTN_NN_GREEDY, 1),
                                     beam = options_of(ATTN_NN_BEAM, 1),
                                     n_best = options_of(ATTN_NN_BEAM, 3),
                                     samples = options_of(ATTN_NN_SAMPLE, 3);
        check_search(&kind, 1, &greedy);
        check_search(&kind, 1, &beam);
        check_search(&kind, 1, &n_best);
        check_search(&kind, 1, &samples);
    }
}

/* Nothing but the end is said: it is the first that is kept. */
static void empty_translations(void **state) {
    (void)state;
    const int kind = 0;
    attn_nn_search_options o = options_of(ATTN_NN_BEAM, 1);
    o.min_length = o.max_length = 0;
    check_search(&kind, 1, &o);
}

/* So long that whatever is kept of what was said outgrows where it began. */
static void long_searches(void **state) {
    (void)state;
    const int kind = 0;
    attn_nn_search_options o = options_of(ATTN_NN_BEAM, 3);
    o.min_length = o.max_length = 20;
    check_search(&kind, 1, &o);
}

static void searches_together(void **state) {
    (void)state;
    static const int kinds[MODELS] = {2, 3};
    const attn_nn_search_options o = options_of(ATTN_NN_BEAM, 2);
    check_search(kinds, MODELS, &o);
}

/* --- How much ------------------------------------------------------------------------------------- */

/* Each key and value of what was said lies there once, whatever becomes of the rows, and room for 16 tokens
 * more at most. Beside that there is a number a row while rows are reordered; and malloc may round each of
 * these up, to a page. */
static void what_was_said_is_kept_once(void **state) {
    (void)state;
    enum { STEPS_SAID = 40, ROOM = 48, ROWS = 12, WIDTH = 8, LAYERS = 2, PAGE = 4096 };
    const attn_nn_config config = config_of(0);
    fixture f;
    open_fixture(&f, &config, 3);
    attn_nn_pass pass = fixture_pass(&f, false);
    attn_nn_decoder *const d = attn_nn_decoder_open(f.model, &pass, &sources, ROWS);
    assert_non_null(d);
    const int64_t before = heap_bytes();
    heap_forget_most();
    for (int64_t step = 0; step < STEPS_SAID; step++) {
        const int32_t tokens[ROWS] = {BEGIN};
        real log_p[ROWS * VOCABULARY];
        int64_t from[ROWS];
        const int64_t each = step == 0 ? 1 : ROWS / 3;
        for (int64_t r = 0; r < ROWS; r++) {
            from[r] = r / (ROWS / 3) * each + (r + 1) % each;
        }
        assert_true(attn_nn_decoder_step(d, tokens, log_p, NULL));
        assert_true(attn_nn_decoder_reorder(d, from, ROWS));
    }
    const int64_t said = LAYERS * ROWS * ROOM * 2 * WIDTH * (int64_t)sizeof(real);
    const int64_t order = ROWS * (int64_t)sizeof(int64_t);
    assert_in_range(heap_most() - before, said, said + order + (LAYERS + 1) * PAGE);
    attn_nn_decoder_close(d);
    close_fixture(&f);
}

static size_t bytes_of_loss(int64_t layers) {
    attn_nn_config config = config_of(0);
    config.width = 32, config.encoder_layers = config.decoder_layers = layers;
    const attn_nn_objective objective = {.scale = 1};
    fixture f;
    small_batch small;
    attn_nn_loss loss;
    open_fixture(&f, &config, 3);
    make_small_batch(&small, VOCABULARY, 5);
    attn_nn_pass pass = fixture_pass(&f, false);
    attn_nn_model_loss(f.model, &pass, &small.batch, &objective, &loss);
    assert_int_equal(pass.status, ATTN_OK);
    const size_t bytes = attn_nn_arena_bytes(f.arena);
    close_fixture(&f);
    return bytes;
}

/* A row takes some 20 width numbers of each layer, here 5 KiB: 16 layers kept would be 2.4 MiB for the batch's
 * 30 rows, where the first block of an arena has 1 MiB. */
static void layers_without_a_way_back_are_not_kept(void **state) {
    (void)state;
    assert_int_equal(bytes_of_loss(16), bytes_of_loss(2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models),
        cmocka_unit_test(packed_matrices),
        cmocka_unit_test(passes),
        cmocka_unit_test(batches),
        cmocka_unit_test(training),
        cmocka_unit_test(searches),
        cmocka_unit_test(empty_translations),
        cmocka_unit_test(long_searches),
        cmocka_unit_test(searches_together),
        cmocka_unit_test(what_was_said_is_kept_once),
        cmocka_unit_test(layers_without_a_way_back_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
