/* trainer.c: data parallelism. Each shard of a batch is a pass of its own, with an arena, a gradient and
 * a one-thread context of its own; gradients are then added in the order of the shards, range by range.
 * So results depend on how many shards there are, and not on how many threads. */
#include "nn.h"

#include "noise.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <stdlib.h>

typedef struct {
    attn_nn_arena *arena;
    attn_context *context;
    real *gradients;
    attn_nn_batch batch;
    attn_nn_loss loss;
    attn_status status;
    char sentence[256];
} shard;

struct attn_nn_trainer {
    const attn_nn_model *model;
    attn_nn_trainer_options options;
    attn_nn_training state;
    int64_t size; /* of the layout */
    int threads;
    shard *shards; /* [options.shards] */
};

/* --- Life ----------------------------------------------------------------------------------------- */

static int threads_of(int wanted) {
#ifdef _OPENMP
    return wanted > 0 ? wanted : omp_get_max_threads();
#else
    (void)wanted;
    return 1;
#endif
}

static real *zeros(int64_t size) {
    const size_t bytes = (size_t)(size ? size : 1) * sizeof(real);
    const size_t rounded = (bytes + 63) / 64 * 64;
    real *const memory = aligned_alloc(64, rounded);
    if (memory != NULL) memset(memory, 0, rounded);
    return memory;
}

static bool open_shard(shard *s, int64_t size) {
    const attn_context_options one = {.threads = 1};
    s->arena = attn_nn_arena_create();
    s->gradients = zeros(size);
    return s->arena != NULL && s->gradients != NULL &&
           attn_context_create(&s->context, &one) == ATTN_OK;
}

static bool open_all(attn_nn_trainer *t) {
    attn_nn_training *const state = &t->state;
    state->values = zeros(t->size), state->mean = zeros(t->size), state->square = zeros(t->size);
    if (t->options.average_keep > 0) state->average = zeros(t->size);
    t->shards = calloc((size_t)t->options.shards, sizeof *t->shards);
    if (state->values == NULL || state->mean == NULL || state->square == NULL ||
        t->shards == NULL || (t->options.average_keep > 0 && state->average == NULL)) {
        return false;
    }
    for (int64_t s = 0; s < t->options.shards; s++) {
        if (!open_shard(&t->shards[s], t->size)) return false;
    }
    return true;
}

attn_status attn_nn_trainer_create(attn_nn_trainer **trainer, const attn_nn_model *model,
                                   const attn_nn_trainer_options *options) {
    if (trainer == NULL || model == NULL || options == NULL) {
        return attn_nn_error(ATTN_ERROR_NULL, "trainer, model or options is NULL");
    }
    *trainer = NULL;
    if (options->shards < 0 || options->shards > 4096 || options->threads < 0 ||
        options->threads > 4096) {
        return attn_nn_error(ATTN_ERROR_VALUE, "options.shards or threads: expected 0 to 4096");
    }
    attn_nn_trainer *const t = calloc(1, sizeof *t);
    if (t == NULL) return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    t->model = model;
    t->options = *options;
    if (t->options.shards == 0) t->options.shards = 1;
    t->size = attn_nn_model_layout(model)->size;
    t->threads = threads_of(options->threads);
    if (!open_all(t)) {
        attn_nn_trainer_destroy(t);
        return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    }
    attn_nn_layout_start(attn_nn_model_layout(model), options->seed, t->state.values);
    /* The first step replaces it, unless it is left out. */
    if (t->state.average) {
        memcpy(t->state.average, t->state.values, (size_t)t->size * sizeof(real));
    }
    *trainer = t;
    return ATTN_OK;
}

void attn_nn_trainer_destroy(attn_nn_trainer *t) {
    if (t == NULL) return;
    for (int64_t s = 0; t->shards != NULL && s < t->options.shards; s++) {
        attn_nn_arena_destroy(t->shards[s].arena);
        attn_context_destroy(t->shards[s].context);
        free(t->shards[s].gradients);
    }
    free(t->shards);
    free(t->state.values);
    free(t->state.mean);
    free(t->state.square);
    free(t->state.average);
    free(t);
}

attn_nn_training *attn_nn_trainer_state(attn_nn_trainer *t) {
    return &t->state;
}

size_t attn_nn_trainer_bytes(const attn_nn_trainer *t) {
    const size_t arrays = (size_t)t->options.shards + (t->state.average ? 4 : 3);
    size_t sum = arrays * (size_t)t->size * sizeof(real);
    for (int64_t s = 0; s < t->options.shards; s++) {
        sum += attn_nn_arena_bytes(t->shards[s].arena);
        sum += attn_context_scratch_bytes(t->shards[s].context);
    }
    return sum;
}

/* --- Passes --------------------------------------------------------------------------------------- */

static void run_shard(attn_nn_trainer *t, int64_t number, const real *values, bool training,
                      const attn_nn_objective *objective) {
    shard *const s = &t->shards[number];
    const uint64_t of_step = attn_nn_stream(t->options.seed, (uint64_t)t->state.step);
    attn_nn_pass pass = {.values = values,
                         .gradients = training ? s->gradients : NULL,
                         .arena = s->arena,
                         .context = s->context,
                         .training = training,
                         .seed = attn_nn_stream(of_step, (uint64_t)number)};
    const size_t mark = attn_nn_mark(&pass);
    if (training) memset(s->gradients, 0, (size_t)t->size * sizeof(real));
    memset(&s->loss, 0, sizeof s->loss);
    if (s->batch.target.count > 0) {
        attn_nn_model_loss(t->model, &pass, &s->batch, objective, &s->loss);
    }
    s->status = pass.status;
    if (pass.status != ATTN_OK) {
        /* The sentence is the thread's that failed; the caller's thread is to know it. */
        strncpy(s->sentence, attn_nn_error_message(), sizeof s->sentence - 1);
    }
    attn_nn_release(&pass, mark);
}

/* Fetches the shards of a batch, runs them, and adds up their losses. */
static attn_status run_batch(attn_nn_trainer *t, attn_nn_batches *batches, int64_t epoch,
                             int64_t index, const real *values, bool training, attn_nn_loss *loss) {
    if (attn_nn_batches_shards(batches) != t->options.shards) {
        return attn_nn_error(ATTN_ERROR_VALUE,
                             "batches: shards: expected as many as the trainer's");
    }
    int64_t rows = 0;
    for (int64_t s = 0; s < t->options.shards; s++) {
        attn_nn_batch *const batch = &t->shards[s].batch;
        const attn_status status = attn_nn_batches_get(batches, epoch, index, s, batch, NULL);
        if (status != ATTN_OK) return status;
        rows += batch->target.starts[batch->target.count];
    }
    attn_nn_objective objective = t->options.objective;
    objective.scale = rows > 0 ? 1 / (double)rows : 0;
#pragma omp parallel for num_threads(t->threads) schedule(dynamic, 1)
    for (int64_t s = 0; s < t->options.shards; s++) {
        run_shard(t, s, values, training, &objective);
    }
    for (int64_t s = 0; s < t->options.shards; s++) {
        const shard *const done = &t->shards[s];
        if (done->status != ATTN_OK) return attn_nn_error(done->status, done->sentence);
        loss->sum += done->loss.sum;
        loss->likelihood += done->loss.likelihood;
        loss->rows += done->loss.rows;
    }
    return ATTN_OK;
}

/* --- Steps ---------------------------------------------------------------------------------------- */

/* Small enough that a range of all arrays stays in the second-level cache. */
enum { RANGE = 1 << 14 };

/* The sum of the shards' gradients, into the first, and its length. Ranges are summed in double and
 * then added in order, so the length does not depend on threads. */
static double add_gradients(attn_nn_trainer *t, double *squares) {
    const int64_t ranges = (t->size + RANGE - 1) / RANGE;
    real *const sum = t->shards[0].gradients;
#pragma omp parallel for num_threads(t->threads) schedule(static)
    for (int64_t r = 0; r < ranges; r++) {
        const int64_t first = r * RANGE, left = t->size - first;
        const int64_t count = left < RANGE ? left : RANGE;
        const attn_nn_kernels *const k =
            attn_nn_kernels_for(attn_context_isa(t->shards[0].context));
        for (int64_t s = 1; s < t->options.shards; s++) {
            k->add(sum + first, 1, t->shards[s].gradients + first, count);
        }
        squares[r] = k->sum_of_squares(sum + first, count);
    }
    double total = 0;
    for (int64_t r = 0; r < ranges; r++) total += squares[r];
    return __builtin_sqrt(total);
}

static void apply(attn_nn_trainer *t, double rate, double by) {
    attn_nn_training *const state = &t->state;
    const int64_t ranges = (t->size + RANGE - 1) / RANGE;
    const double keep = attn_nn_average_keep(t->options.average_keep, state->step);
#pragma omp parallel for num_threads(t->threads) schedule(static)
    for (int64_t r = 0; r < ranges; r++) {
        const int64_t first = r * RANGE, left = t->size - first;
        const int64_t count = left < RANGE ? left : RANGE;
        attn_context *const context = t->shards[0].context;
        attn_nn_adam(context, &t->options.adam, attn_nn_model_layout(t->model), rate, by,
                     state->step, first, count, state->values, t->shards[0].gradients, state->mean,
                     state->square);
        if (state->average) {
            attn_nn_average(context, state->average + first, state->values + first, keep, count);
        }
    }
}

attn_status attn_nn_trainer_step(attn_nn_trainer *t, attn_nn_batches *batches, int64_t epoch,
                                 int64_t index, attn_nn_step_report *report) {
    memset(report, 0, sizeof *report);
    double *const squares = malloc((size_t)(t->size / RANGE + 1) * sizeof *squares);
    if (squares == NULL) return attn_nn_error(ATTN_ERROR_MEMORY, "out of memory");
    const attn_status status =
        run_batch(t, batches, epoch, index, t->state.values, true, &report->loss);
    if (status == ATTN_OK) {
        report->length = add_gradients(t, squares);
        report->rate = attn_nn_rate(&t->options.schedule, ++t->state.step);
        const double by = attn_nn_clip(report->length, t->options.clip);
        report->left_out = by == 0;
        if (!report->left_out) apply(t, report->rate, by);
    }
    free(squares);
    return status;
}

attn_status attn_nn_trainer_loss(attn_nn_trainer *t, attn_nn_batches *batches,
                                 const attn_nn_real *values, attn_nn_loss *loss) {
    memset(loss, 0, sizeof *loss);
    const int64_t count = attn_nn_batches_count(batches, 0);
    for (int64_t i = 0; i < count; i++) {
        const attn_status status = run_batch(t, batches, 0, i, values, false, loss);
        if (status != ATTN_OK) return status;
    }
    return ATTN_OK;
}
