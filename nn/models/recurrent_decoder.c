/* recurrent_decoder.c: the decoder on a batch, forward and back.
 *
 * A *stretch* is a range of steps that is walked part by part: all of its steps through the first layer,
 * then the next, then attention, then the mix. With input feeding, or weights that join the next
 * scores, a stretch is one step; without, there is one stretch. What no step waits for is done outside:
 * W x of all tokens before, and the gradients of all weights, keys and values after, each by one
 * product, or one call of attn_backward, over all rows. */
#include "recurrent.h"

static bool feeds(const attn_nn_model *model) {
    return attn_nn_looks(model) && !model->config.no_input_feeding;
}

/* --- Places ----------------------------------------------------------------------------------------- */

/* The order of steps puts the longest first and leaves equals as they were. */
static bool check_order(const attn_nn_unroll *u) {
    for (int64_t i = 0; i < u->steps->count; i++) {
        if (u->steps->order[i] != i) {
            attn_nn_fail(u->pass, ATTN_ERROR_VALUE,
                         "the pairs of a batch come in falling order of target length");
            return false;
        }
    }
    return true;
}

/* What belongs to rows, in the order of steps. */
static void sort_guide(attn_nn_unroll *u) {
    const attn_nn_batch *const batch = u->batch;
    const int64_t rows = u->steps->rows, guides = batch->guide_starts[rows];
    int64_t *const starts = attn_nn_take_bytes(u->pass, (size_t)(rows + 1) * sizeof *starts);
    int32_t *const keys = attn_nn_take_bytes(u->pass, (size_t)guides * sizeof *keys);
    if (attn_nn_failed(u->pass)) return;
    starts[0] = 0;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t first = batch->guide_starts[u->steps->from[r]];
        const int64_t count = batch->guide_starts[u->steps->from[r] + 1] - first;
        for (int64_t g = 0; g < count; g++) keys[starts[r] + g] = batch->guide_keys[first + g];
        starts[r + 1] = starts[r] + count;
    }
    u->sorted.guide_starts = starts, u->sorted.guide_keys = keys;
}

static void sort_batch(attn_nn_unroll *u) {
    const int64_t rows = u->steps->rows;
    int32_t *const said = attn_nn_take_bytes(u->pass, (size_t)rows * sizeof *said);
    int32_t *const labels = attn_nn_take_bytes(u->pass, (size_t)rows * sizeof *labels);
    if (attn_nn_failed(u->pass)) return;
    for (int64_t r = 0; r < rows; r++) {
        said[r] = u->batch->target.tokens[u->steps->from[r]];
        labels[r] = u->batch->labels ? u->batch->labels[u->steps->from[r]] : 0;
    }
    u->sorted = *u->batch;
    u->sorted.target.tokens = said, u->sorted.labels = labels;
    if (u->batch->guide_starts != NULL) sort_guide(u);
}

static void take_places(attn_nn_unroll *u, bool want_weights) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    attn_nn_pass *const pass = u->pass;
    const int64_t rows = u->steps->rows, count = u->steps->count, longest = u->scene.longest;
    const size_t layers = (size_t)c->decoder_layers;
    u->ones = attn_nn_take_bytes(pass, (size_t)(count + 1) * sizeof *u->ones);
    u->walks = attn_nn_take_bytes(pass, layers * sizeof *u->walks);
    u->between = attn_nn_take_bytes(pass, layers * sizeof *u->between);
    u->draws = attn_nn_take_bytes(pass, (size_t)u->steps->steps * layers * sizeof *u->draws);
    if (u->draws) memset(u->draws, 0, (size_t)u->steps->steps * layers * sizeof *u->draws);
    u->context = attn_nn_take(pass, rows * c->hidden);
    u->mixed = attn_nn_take(pass, rows * c->width);
    u->states = u->drops ? attn_nn_take(pass, rows * c->width) : u->mixed;
    if (look->query.out > 0) u->query = attn_nn_take(pass, rows * look->width);
    if (attn_nn_looks(u->model)) u->lse = attn_nn_take(pass, rows * look->heads);
    if (attn_nn_looks(u->model) && (want_weights || attn_nn_look_remembers(look))) {
        u->weights = attn_nn_take(pass, rows * look->heads * longest);
    }
    if (attn_nn_look_remembers(look)) {
        u->previous = attn_nn_take_zeros(pass, count * u->steps->steps * longest);
    }
}

/* Layers, and W x of what was said (and, without attention, of the constant context). */
static void begin(attn_nn_unroll *u) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(u->model);
    attn_nn_pass *const pass = u->pass;
    const attn_nn_steps *const steps = u->steps;
    for (int64_t i = 0; i <= steps->count; i++) u->ones[i] = i;
    for (int64_t l = 0; l < c->decoder_layers && !attn_nn_failed(pass); l++) {
        const attn_nn_recurrent *const layer = &layers->decoder[l];
        attn_nn_walk_make(pass, &u->walks[l], layer, steps,
                          attn_nn_bridge_h(u->model, pass, &u->source, l),
                          attn_nn_bridge_c(u->model, pass, &u->source, l));
        u->between[l] = u->drops ? attn_nn_take(pass, steps->rows * c->hidden) : u->walks[l].h;
        const real *const bias = attn_nn_walk_bias(pass, layer);
        if (!attn_nn_failed(pass))
            attn_nn_fill_rows(u->walks[l].gates, bias, steps->rows, layer->input.out);
    }
    u->embedded =
        attn_nn_embedding_forward(pass, &u->model->embedding, u->sorted.target.tokens, steps->rows);
    u->said_draw = attn_nn_dropout_forward(pass, c->dropout, u->embedded, steps->rows * c->width);
    attn_nn_columns_add(pass, &layers->said, u->embedded, steps->rows, u->walks[0].gates);
    if (attn_nn_looks(u->model) || attn_nn_failed(pass)) return;
    for (int64_t t = 0; t < steps->steps; t++) {
        memcpy(u->context + steps->starts[t] * c->hidden, u->source.last_h,
               (size_t)(attn_nn_step_rows(steps, t) * c->hidden) * sizeof *u->context);
    }
    attn_nn_columns_add(pass, &layers->fed, u->context, steps->rows, u->walks[0].gates);
}

/* --- Attention -------------------------------------------------------------------------------------- */

static const real *queries(const attn_nn_unroll *u) {
    return u->query ? u->query : u->walks[u->model->config.decoder_layers - 1].h;
}

/* Step t, whose sentences have a row each. */
static attn_nn_glance glance_of_step(const attn_nn_unroll *u, int64_t t) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    const int64_t first = u->steps->starts[t], longest = u->scene.longest;
    const attn_nn_glance glance = {
        .sentences = attn_nn_step_rows(u->steps, t),
        .starts = u->ones,
        .query = queries(u) + first * look->width,
        .context = u->context + first * look->hidden,
        .lse = u->lse + first * look->heads,
        .weights = u->weights ? u->weights + first * longest : NULL,
        .weights_head = u->steps->rows * longest,
        .previous = u->previous ? u->previous + t * longest : NULL,
        .previous_sentence = u->steps->steps * longest,
        .previous_row = longest,
        .previous_rows = 1,
    };
    return glance;
}

/* All rows, packed by sentence, which is not the order of steps: places of their own. */
static attn_nn_glance glance_of_all(const attn_nn_unroll *u, bool want_weights) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    const int64_t rows = u->steps->rows, longest = u->scene.longest;
    real *const query = attn_nn_take(u->pass, rows * look->width);
    if (query != NULL) attn_nn_scatter(u->steps->from, queries(u), rows, look->width, query);
    const attn_nn_glance glance = {
        .sentences = u->steps->count,
        .starts = u->batch->target.starts,
        .query = query,
        .context = attn_nn_take(u->pass, rows * look->hidden),
        .lse = attn_nn_take(u->pass, rows * look->heads),
        .weights = want_weights ? attn_nn_take(u->pass, rows * look->heads * longest) : NULL,
        .weights_head = rows * longest,
        .previous = u->previous,
        .previous_sentence = u->steps->steps * longest,
        .previous_row = longest,
        .previous_rows = u->steps->steps,
    };
    return glance;
}

/* previous of step t, from what step t - 1 looked at. */
static void remember(attn_nn_unroll *u, int64_t t) {
    const int64_t longest = u->scene.longest, step = u->steps->steps * longest;
    const bool sums = u->model->config.coverage;
    for (int64_t i = 0; i < attn_nn_step_rows(u->steps, t); i++) {
        real *const now = u->previous + i * step + t * longest;
        const real *const before = now - longest;
        const real *const saw = u->weights + (u->steps->starts[t - 1] + i) * longest;
        for (int64_t j = 0; j < longest; j++) now[j] = (sums ? before[j] : 0) + saw[j];
    }
}

static void look_forward(attn_nn_unroll *u, int64_t t) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    attn_nn_pass *const pass = u->pass;
    if (u->by_step) {
        if (u->previous && t > 0) remember(u, t);
        const attn_nn_glance glance = glance_of_step(u, t);
        attn_nn_look_forward(pass, look, &u->scene, &glance);
        return;
    }
    const size_t mark = attn_nn_mark(pass);
    const attn_nn_glance glance = glance_of_all(u, u->weights != NULL);
    attn_nn_look_forward(pass, look, &u->scene, &glance);
    if (attn_nn_failed(pass)) return;
    const int64_t rows = u->steps->rows, heads = look->heads;
    attn_nn_gather(u->steps->from, glance.context, rows, look->hidden, u->context);
    attn_nn_gather(u->steps->from, glance.lse, rows, heads, u->lse);
    for (int64_t h = 0; h < heads && u->weights; h++) {
        const int64_t head = h * glance.weights_head;
        attn_nn_gather(u->steps->from, glance.weights + head, rows, u->scene.longest,
                       u->weights + head);
    }
    attn_nn_release(pass, mark);
}

/* --- Forward ---------------------------------------------------------------------------------------- */

/* All of W_ih, without the bias, which walks begin with. */
static attn_nn_columns input_of(const attn_nn_recurrent *layer) {
    const attn_nn_linear *const by = &layer->input;
    return attn_nn_columns_of(by->weight, by->in, 0, by->in, by->out, -1);
}

/* Steps t to end - 1. */
static void layers_forward(attn_nn_unroll *u, int64_t t, int64_t end) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(u->model);
    attn_nn_pass *const pass = u->pass;
    const int64_t first = u->steps->starts[t], rows = u->steps->starts[end] - first;
    if (feeds(u->model) && t > 0) {
        attn_nn_columns_add(pass, &layers->fed, u->states + u->steps->starts[t - 1] * c->width,
                            rows, u->walks[0].gates + first * layers->fed.out);
    }
    for (int64_t l = 0; l < c->decoder_layers; l++) {
        attn_nn_walk *const walk = &u->walks[l];
        if (l > 0) {
            const attn_nn_columns input = input_of(&layers->decoder[l]);
            attn_nn_columns_add(pass, &input, u->between[l - 1] + first * input.in, rows,
                                walk->gates + first * input.out);
        }
        for (int64_t at = t; at < end; at++) attn_nn_walk_step(pass, walk, at);
        if (l == c->decoder_layers - 1 || !u->drops || attn_nn_failed(pass)) continue;
        real *const given = u->between[l] + first * c->hidden;
        memcpy(given, walk->h + first * c->hidden, (size_t)(rows * c->hidden) * sizeof *given);
        u->draws[t * c->decoder_layers + l] =
            attn_nn_dropout_forward(pass, c->dropout, given, rows * c->hidden);
    }
}

static void stretch_forward(attn_nn_unroll *u, int64_t t, int64_t end) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(u->model);
    attn_nn_pass *const pass = u->pass;
    const int64_t first = u->steps->starts[t], rows = u->steps->starts[end] - first;
    layers_forward(u, t, end);
    const real *const top = u->walks[c->decoder_layers - 1].h + first * c->hidden;
    if (u->query) {
        attn_nn_columns_forward(pass, &layers->look.query, top, rows,
                                u->query + first * layers->look.width);
    }
    if (attn_nn_looks(u->model)) look_forward(u, t);
    real *const mixed = u->mixed + first * c->width;
    attn_nn_columns_forward(pass, &layers->mix_context, u->context + first * c->hidden, rows,
                            mixed);
    attn_nn_columns_add(pass, &layers->mix_state, top, rows, mixed);
    if (attn_nn_failed(pass)) return;
    attn_nn_kernels_of(pass)->tanh(mixed, rows * c->width);
    if (!u->drops) return;
    real *const states = u->states + first * c->width;
    memcpy(states, mixed, (size_t)(rows * c->width) * sizeof *states);
    u->draws[(t + 1) * c->decoder_layers - 1] =
        attn_nn_dropout_forward(pass, c->dropout, states, rows * c->width);
}

bool attn_nn_unroll_forward(attn_nn_unroll *u, const attn_nn_model *model, attn_nn_pass *pass,
                            const attn_nn_batch *batch, bool want_weights) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(model)->look;
    memset(u, 0, sizeof *u);
    u->model = model, u->pass = pass, u->batch = batch;
    u->by_step = feeds(model) || attn_nn_look_remembers(look);
    u->drops = pass->training && model->config.dropout > 0;
    u->steps = attn_nn_steps_make(pass, &batch->target, false);
    if (attn_nn_failed(pass) || !check_order(u)) return false;
    if (!attn_nn_encode(model, pass, &batch->source, &u->source)) return false;
    u->scene.sentences = batch->source;
    u->scene.rows = u->source.rows, u->scene.longest = attn_nn_longest(&batch->source);
    u->scene.memory = u->source.memory;
    attn_nn_look_prepare(pass, look, &u->scene);
    sort_batch(u);
    take_places(u, want_weights);
    if (attn_nn_failed(pass)) return false;
    begin(u);
    const int64_t steps = u->steps->steps, stretch = u->by_step ? 1 : steps;
    for (int64_t t = 0; t < steps && !attn_nn_failed(pass); t += stretch) {
        stretch_forward(u, t, t + stretch);
    }
    return !attn_nn_failed(pass);
}

/* --- Back ------------------------------------------------------------------------------------------- */

bool attn_nn_unroll_turn(attn_nn_unroll *u) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    attn_nn_pass *const pass = u->pass;
    const int64_t rows = u->steps->rows, longest = u->scene.longest;
    u->d_states = attn_nn_take_zeros(pass, rows * c->width);
    u->d_context = attn_nn_take(pass, rows * c->hidden);
    u->d_query = attn_nn_take(pass, rows * look->width);
    if (u->weights) u->d_weights = attn_nn_take_zeros(pass, rows * look->heads * longest);
    if (u->previous) u->later = attn_nn_take_zeros(pass, u->steps->count * longest);
    u->d_h = attn_nn_take_bytes(pass, (size_t)c->decoder_layers * sizeof *u->d_h);
    for (int64_t l = 0; l < c->decoder_layers && !attn_nn_failed(pass); l++) {
        u->d_h[l] = attn_nn_take(pass, rows * c->hidden);
        attn_nn_walk_turn(pass, &u->walks[l]);
    }
    return !attn_nn_failed(pass);
}

/* What flows into step t's weights from later ones and from the coverage loss, min(weight, coverage);
 * d_previous gets the coverage's share of the latter, and `later` is then of step t. */
static void forget(attn_nn_unroll *u, int64_t t, const attn_nn_glance *glance,
                   attn_nn_glance_back *back) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    const int64_t longest = u->scene.longest, rows = glance->sentences;
    real *const d_weights = u->d_weights + u->steps->starts[t] * longest;
    const real by = (real)u->coverage;
    real *const share = attn_nn_take_zeros(u->pass, rows * longest);
    back->d_previous = attn_nn_take(u->pass, rows * longest);
    if (attn_nn_failed(u->pass)) return;
    for (int64_t i = 0; i < rows; i++) {
        const real *const w = glance->weights + i * longest;
        const real *const previous = glance->previous + i * glance->previous_sentence;
        for (int64_t j = 0; j < longest; j++) {
            const int64_t at = i * longest + j;
            d_weights[at] += u->later[at];
            if (w[j] < previous[j]) {
                d_weights[at] += by;
            } else {
                share[at] = by;
            }
        }
    }
    attn_nn_look_back(u->pass, look, &u->scene, glance, back);
    const bool sums = u->model->config.coverage;
    for (int64_t at = 0; at < rows * longest && !attn_nn_failed(u->pass); at++) {
        u->later[at] = (sums ? u->later[at] : 0) + back->d_previous[at] + share[at];
    }
}

/* d_query of step t. */
static void look_back(attn_nn_unroll *u, int64_t t) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    const int64_t first = u->steps->starts[t];
    const attn_nn_glance glance = glance_of_step(u, t);
    attn_nn_glance_back back = {
        .d_context = u->d_context + first * look->hidden,
        .d_query = u->d_query + first * look->width,
    };
    const size_t mark = attn_nn_mark(u->pass);
    if (u->d_weights) back.d_weights = u->d_weights + first * u->scene.longest;
    if (u->previous && u->d_weights && glance.weights) { /* who remembers has weights */
        forget(u, t, &glance, &back);
    } else {
        attn_nn_look_back(u->pass, look, &u->scene, &glance, &back);
    }
    attn_nn_release(u->pass, mark);
}

/* x [heads, rows, width] packed by sentence. */
static real *by_sentence(const attn_nn_unroll *u, const real *x, int64_t heads, int64_t width) {
    const int64_t head = u->steps->rows * width;
    real *const y = attn_nn_take(u->pass, heads * head);
    for (int64_t h = 0; h < heads && y != NULL; h++) {
        attn_nn_scatter(u->steps->from, x + h * head, u->steps->rows, width, y + h * head);
    }
    return y;
}

/* For all rows at once: the gradients of keys, values and the look's parameters, and, unless the steps
 * have found them, of the queries. */
static void look_back_all(attn_nn_unroll *u, real *d_keys, real *d_values) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    const int64_t rows = u->steps->rows;
    attn_nn_pass *const pass = u->pass;
    const size_t mark = attn_nn_mark(pass);
    const attn_nn_glance glance = glance_of_all(u, false);
    attn_nn_glance_back back = {.d_keys = d_keys, .d_values = d_values, .learn = true};
    back.d_context = by_sentence(u, u->d_context, 1, look->hidden);
    if (u->d_weights) {
        back.d_weights = by_sentence(u, u->d_weights, look->heads, u->scene.longest);
    }
    if (!u->by_step) back.d_query = attn_nn_take(pass, rows * look->width);
    if (attn_nn_failed(pass)) return;
    attn_nn_scatter(u->steps->from, u->context, rows, look->hidden, glance.context);
    attn_nn_scatter(u->steps->from, u->lse, rows, look->heads, glance.lse);
    attn_nn_look_back(pass, look, &u->scene, &glance, &back);
    if (attn_nn_failed(pass)) return;
    if (back.d_query) attn_nn_gather(u->steps->from, back.d_query, rows, look->width, u->d_query);
    attn_nn_release(pass, mark);
}

static void layers_back(attn_nn_unroll *u, int64_t t, int64_t end) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(u->model);
    attn_nn_pass *const pass = u->pass;
    const int64_t first = u->steps->starts[t], rows = u->steps->starts[end] - first;
    for (int64_t l = c->decoder_layers - 1; l >= 0; l--) {
        for (int64_t at = end - 1; at >= t; at--) {
            attn_nn_walk_back(pass, &u->walks[l], at, u->d_h[l] + u->steps->starts[at] * c->hidden);
        }
        if (l == 0) break;
        const attn_nn_columns input = input_of(&layers->decoder[l]);
        real *const d_below = u->d_h[l - 1] + first * c->hidden;
        attn_nn_columns_back(pass, &input, u->walks[l].d_gates + first * input.out, rows, 0,
                             d_below);
        attn_nn_dropout_backward(pass, c->dropout, u->draws[t * c->decoder_layers + l - 1], d_below,
                                 rows * c->hidden);
    }
    if (feeds(u->model) && t > 0) {
        attn_nn_columns_back(pass, &layers->fed, u->walks[0].d_gates + first * layers->fed.out,
                             rows, 1, u->d_states + u->steps->starts[t - 1] * c->width);
    }
}

/* d_states becomes the gradient of what tanh was taken of. */
static void mix_back(attn_nn_unroll *u, int64_t t, int64_t end) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(u->model);
    attn_nn_pass *const pass = u->pass;
    const int64_t first = u->steps->starts[t], rows = u->steps->starts[end] - first;
    real *const d_mixed = u->d_states + first * c->width;
    attn_nn_dropout_backward(pass, c->dropout, u->draws[(t + 1) * c->decoder_layers - 1], d_mixed,
                             rows * c->width);
    attn_nn_kernels_of(pass)->tanh_back(d_mixed, u->mixed + first * c->width, rows * c->width);
    attn_nn_columns_back(pass, &layers->mix_context, d_mixed, rows, 0,
                         u->d_context + first * c->hidden);
    attn_nn_columns_back(pass, &layers->mix_state, d_mixed, rows, 0,
                         u->d_h[c->decoder_layers - 1] + first * c->hidden);
}

static void query_back(attn_nn_unroll *u, int64_t t, int64_t end) {
    const int64_t hidden = u->model->config.hidden;
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    const int64_t first = u->steps->starts[t], rows = u->steps->starts[end] - first;
    real *const d_top = u->d_h[u->model->config.decoder_layers - 1] + first * hidden;
    const real *const d_query = u->d_query + first * look->width;
    if (attn_nn_failed(u->pass)) return;
    if (u->query) {
        attn_nn_columns_back(u->pass, &look->query, d_query, rows, 1, d_top);
    } else {
        attn_nn_kernels_of(u->pass)->add(d_top, 1, d_query, rows * look->width);
    }
}

/* The gradients of all weights of layers, of the mix and of the query. */
static void learn(attn_nn_unroll *u) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(u->model);
    attn_nn_pass *const pass = u->pass;
    const int64_t rows = u->steps->rows;
    const real *const top = u->walks[c->decoder_layers - 1].h;
    attn_nn_columns_learn(pass, &layers->mix_context, u->context, u->d_states, rows);
    attn_nn_columns_learn(pass, &layers->mix_state, top, u->d_states, rows);
    if (u->query) attn_nn_columns_learn(pass, &layers->look.query, top, u->d_query, rows);
    for (int64_t l = 0; l < c->decoder_layers && !attn_nn_failed(pass); l++) {
        attn_nn_walk_learn(pass, &u->walks[l]);
        if (l == 0) continue;
        const attn_nn_columns input = input_of(&layers->decoder[l]);
        attn_nn_columns_learn(pass, &input, u->between[l - 1], u->walks[l].d_gates, rows);
    }
}

/* What was said and fed: the first layer's input. Without attention, d_context is complete after this. */
static void input_back(attn_nn_unroll *u) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(u->model);
    attn_nn_pass *const pass = u->pass;
    const int64_t rows = u->steps->rows;
    const real *const d_gates = u->walks[0].d_gates;
    real *const d_embedded = attn_nn_take(pass, rows * c->width);
    real *const fed = attn_nn_take(pass, rows * c->width);
    if (attn_nn_failed(pass)) return;
    if (!attn_nn_looks(u->model)) {
        attn_nn_columns_learn(pass, &layers->fed, u->context, d_gates, rows);
        attn_nn_columns_back(pass, &layers->fed, d_gates, rows, 1, u->d_context);
    } else if (feeds(u->model)) {
        attn_nn_step_before(u->steps, u->states, NULL, c->width, fed);
        attn_nn_columns_learn(pass, &layers->fed, fed, d_gates, rows);
    }
    attn_nn_columns_learn(pass, &layers->said, u->embedded, d_gates, rows);
    attn_nn_columns_back(pass, &layers->said, d_gates, rows, 0, d_embedded);
    attn_nn_dropout_backward(pass, c->dropout, u->said_draw, d_embedded, rows * c->width);
    attn_nn_embedding_backward(pass, &u->model->embedding, u->sorted.target.tokens, rows,
                               d_embedded);
}

/* Through one layer's first state to the encoder's last; d is used up. */
static void bridge_back(attn_nn_unroll *u, const attn_nn_linear *by, const real *first, real *d,
                        const real *last, real *d_last) {
    if (first == NULL || attn_nn_failed(u->pass)) return;
    attn_nn_kernels_of(u->pass)->tanh_back(d, first, u->steps->count * by->out);
    attn_nn_linear_backward(u->pass, by, last, d, u->steps->count, d_last);
}

static void source_back(attn_nn_unroll *u, const real *d_keys, const real *d_values) {
    const attn_nn_config *const c = &u->model->config;
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(u->model);
    attn_nn_pass *const pass = u->pass;
    const int64_t count = u->steps->count;
    real *const d_memory = attn_nn_take_zeros(pass, u->scene.rows * c->hidden);
    real *const d_last_h = attn_nn_take_zeros(pass, count * c->hidden);
    real *const d_last_c = attn_nn_take_zeros(pass, count * c->hidden);
    for (int64_t l = 0; l < c->decoder_layers && !attn_nn_failed(pass); l++) {
        attn_nn_walk *const walk = &u->walks[l];
        bridge_back(u, &layers->bridge_h[l], walk->h0, walk->d_h, u->source.last_h, d_last_h);
        bridge_back(u, &layers->bridge_c[l], walk->c0, walk->d_c, u->source.last_c, d_last_c);
    }
    if (attn_nn_failed(pass)) return;
    if (attn_nn_looks(u->model)) {
        attn_nn_look_finish(pass, &layers->look, &u->scene, d_keys, d_values, d_memory);
    } else {
        for (int64_t t = 0; t < u->steps->steps; t++) {
            attn_nn_kernels_of(pass)->add(d_last_h, 1,
                                          u->d_context + u->steps->starts[t] * c->hidden,
                                          attn_nn_step_rows(u->steps, t) * c->hidden);
        }
    }
    attn_nn_encode_back(u->model, pass, &u->source, d_memory, d_last_h, d_last_c);
}

void attn_nn_unroll_back(attn_nn_unroll *u) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(u->model)->look;
    attn_nn_pass *const pass = u->pass;
    real *const d_keys = attn_nn_take(pass, u->scene.rows * look->width);
    real *const d_values = attn_nn_take(pass, u->scene.rows * look->hidden);
    const int64_t steps = u->steps->steps, stretch = u->by_step ? 1 : steps;
    for (int64_t t = steps - stretch; t >= 0 && steps > 0 && !attn_nn_failed(pass); t -= stretch) {
        mix_back(u, t, t + stretch);
        if (attn_nn_looks(u->model)) {
            if (u->by_step) {
                look_back(u, t);
            } else {
                look_back_all(u, d_keys, d_values);
            }
            query_back(u, t, t + stretch);
        }
        layers_back(u, t, t + stretch);
    }
    if (attn_nn_looks(u->model) && (u->by_step || steps == 0)) look_back_all(u, d_keys, d_values);
    if (attn_nn_failed(pass)) return;
    learn(u);
    input_back(u);
    source_back(u, d_keys, d_values);
}

/* --- What the weights have to do with the loss -------------------------------------------------------- */

static double coverage_of(const attn_nn_unroll *u) {
    const int64_t longest = u->scene.longest, step = u->steps->steps * longest;
    double sum = 0;
    for (int64_t t = 0; t < u->steps->steps; t++) {
        for (int64_t i = 0; i < attn_nn_step_rows(u->steps, t); i++) {
            const real *const w = u->weights + (u->steps->starts[t] + i) * longest;
            const real *const covered = u->previous + i * step + t * longest;
            for (int64_t j = 0; j < longest; j++) {
                sum += (double)(w[j] < covered[j] ? w[j] : covered[j]);
            }
        }
    }
    return sum;
}

void attn_nn_weights_loss(attn_nn_unroll *u, const attn_nn_objective *objective,
                          attn_nn_loss *loss) {
    if (u->weights == NULL) return;
    const int64_t heads = attn_nn_recurrent_of(u->model)->look.heads, longest = u->scene.longest;
    real *const of_guide =
        attn_nn_guide(u->model, u->pass, &u->sorted, objective, u->weights, heads, longest, loss);
    if (u->d_weights != NULL && of_guide != NULL) {
        attn_nn_kernels_of(u->pass)->add(u->d_weights, 1, of_guide,
                                         heads * u->steps->rows * longest);
    }
    if (objective->coverage > 0 && u->previous != NULL) {
        loss->sum += objective->coverage * coverage_of(u);
        u->coverage = objective->coverage * objective->scale;
    }
}
