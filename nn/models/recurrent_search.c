/* recurrent_search.c: the decoder token by token. A row's state is what its next step needs: the layers'
 * states, the last state of the mix, and what it has looked at so far. */
#include "recurrent.h"

typedef struct {
    attn_nn_encoded source;
    attn_nn_scene scene;
    real **h, **c;   /* [decoder_layers]: [max_rows, hidden] */
    real *fed;       /* [max_rows, width]; without attention the context, [max_rows, hidden] */
    real *previous;  /* [max_rows, longest]; NULL unless the look remembers */
    int64_t *starts; /* [source.count + 1]: rows by sentence */
} searching;

static int64_t fed_width(const attn_nn_model *model) {
    return attn_nn_looks(model) ? model->config.width : model->config.hidden;
}

static void copy_rows(real *to, const real *from, int64_t count) {
    if (to != NULL && from != NULL) memcpy(to, from, (size_t)count * sizeof *to);
}

static void take_places(attn_nn_decoder *d, searching *s) {
    const attn_nn_config *const c = &d->model->config;
    attn_nn_pass *const pass = d->pass;
    const int64_t rows = d->max_rows, hidden = c->hidden, longest = s->scene.longest;
    const size_t pointers = (size_t)c->decoder_layers * sizeof *s->h;
    s->h = attn_nn_take_bytes(pass, pointers);
    s->c = attn_nn_take_bytes(pass, pointers);
    s->fed = attn_nn_take_zeros(pass, rows * fed_width(d->model));
    if (attn_nn_look_remembers(&attn_nn_recurrent_of(d->model)->look)) {
        s->previous = attn_nn_take_zeros(pass, rows * longest);
    }
    s->starts =
        attn_nn_take_bytes(pass, (size_t)(s->source.sentences.count + 1) * sizeof *s->starts);
    for (int64_t l = 0; l < c->decoder_layers && !attn_nn_failed(pass); l++) {
        s->h[l] = attn_nn_take(pass, rows * hidden);
        s->c[l] = attn_nn_take(pass, rows * hidden);
        copy_rows(s->h[l], attn_nn_bridge_h(d->model, pass, &s->source, l), d->rows * hidden);
        copy_rows(s->c[l], attn_nn_bridge_c(d->model, pass, &s->source, l), d->rows * hidden);
    }
}

bool attn_nn_recurrent_decoder_open(attn_nn_decoder *d) {
    attn_nn_pass *const pass = d->pass;
    searching *const s = attn_nn_take_bytes(pass, sizeof *s);
    if (s == NULL) return false;
    memset(s, 0, sizeof *s);
    d->state = s;
    if (!attn_nn_encode(d->model, pass, &d->source, &s->source)) return false;
    s->scene.sentences = d->source;
    s->scene.rows = s->source.rows, s->scene.longest = d->longest;
    s->scene.memory = s->source.memory;
    attn_nn_look_prepare(pass, &attn_nn_recurrent_of(d->model)->look, &s->scene);
    take_places(d, s);
    if (attn_nn_failed(pass)) return false;
    if (!attn_nn_looks(d->model))
        copy_rows(s->fed, s->source.last_h, d->rows * d->model->config.hidden);
    return true;
}

/* All layers, one step; what the top one ends with. */
static const real *walk(attn_nn_decoder *d, searching *s, const real *embedded) {
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(d->model);
    attn_nn_pass *const pass = d->pass;
    const int64_t said = layers->said.in, fed = layers->fed.in, rows = d->rows;
    real *const first = attn_nn_take(pass, rows * (said + fed));
    if (first == NULL) return NULL;
    for (int64_t r = 0; r < rows; r++) {
        copy_rows(first + r * (said + fed), embedded + r * said, said);
        copy_rows(first + r * (said + fed) + said, s->fed + r * fed, fed);
    }
    const real *x = first;
    for (int64_t l = 0; l < d->model->config.decoder_layers; l++) {
        attn_nn_recurrent_step(pass, &layers->decoder[l], x, rows, s->h[l], s->c[l]);
        x = s->h[l];
    }
    return attn_nn_failed(pass) ? NULL : x;
}

/* Rows as sequences, by the sentences they belong to; the most rows of one. */
static int64_t sort(const attn_nn_decoder *d, searching *s) {
    const int64_t count = s->source.sentences.count;
    int64_t most = 0;
    memset(s->starts, 0, (size_t)(count + 1) * sizeof *s->starts);
    for (int64_t r = 0; r < d->rows; r++) s->starts[d->sentences[r] + 1]++;
    for (int64_t i = 0; i < count; i++) {
        if (s->starts[i + 1] > most) most = s->starts[i + 1];
        s->starts[i + 1] += s->starts[i];
    }
    return most;
}

/* previous as libattn wants it: [sentences, most, longest]. */
static const real *spread(const attn_nn_decoder *d, const searching *s, int64_t most) {
    const int64_t count = s->source.sentences.count, longest = s->scene.longest;
    real *const to = attn_nn_take_zeros(d->pass, count * most * longest);
    for (int64_t i = 0; i < count && to != NULL; i++) {
        copy_rows(to + i * most * longest, s->previous + s->starts[i] * longest,
                  (s->starts[i + 1] - s->starts[i]) * longest);
    }
    return to;
}

static void remember(const attn_nn_decoder *d, searching *s, const real *weights) {
    const int64_t size = d->rows * s->scene.longest;
    if (d->model->config.coverage) {
        attn_nn_kernels_of(d->pass)->add(s->previous, 1, weights, size);
    } else {
        copy_rows(s->previous, weights, size);
    }
}

/* The context of the states h; the alignment if it is wanted. */
static const real *look_at(attn_nn_decoder *d, searching *s, const real *h, real *mean) {
    const attn_nn_looking *const look = &attn_nn_recurrent_of(d->model)->look;
    attn_nn_pass *const pass = d->pass;
    const int64_t rows = d->rows, longest = s->scene.longest, most = sort(d, s);
    real *const query = look->query.out ? attn_nn_take(pass, rows * look->width) : NULL;
    attn_nn_glance glance = {
        .sentences = s->source.sentences.count,
        .starts = s->starts,
        .query = query ? query : h,
        .context = attn_nn_take(pass, rows * look->hidden),
        .lse = attn_nn_take(pass, rows * look->heads),
        .weights_head = rows * longest,
    };
    if (mean || s->previous) glance.weights = attn_nn_take(pass, rows * look->heads * longest);
    if (s->previous) {
        glance.previous = spread(d, s, most);
        glance.previous_sentence = most * longest;
        glance.previous_row = longest, glance.previous_rows = most;
    }
    if (query) attn_nn_columns_forward(pass, &look->query, h, rows, query);
    attn_nn_look_forward(pass, look, &s->scene, &glance);
    if (attn_nn_failed(pass)) return NULL;
    if (s->previous) remember(d, s, glance.weights);
    if (mean != NULL) attn_nn_mean_of_heads(d, glance.weights, look->heads, mean);
    return glance.context;
}

const real *attn_nn_recurrent_decoder_step(attn_nn_decoder *d, real *x, real *weights) {
    const attn_nn_recurrent_layers *const layers = attn_nn_recurrent_of(d->model);
    searching *const s = d->state;
    attn_nn_pass *const pass = d->pass;
    const int64_t rows = d->rows, width = d->model->config.width;
    const real *const top = walk(d, s, x);
    if (top == NULL) return NULL;
    const real *const context = attn_nn_looks(d->model) ? look_at(d, s, top, weights) : s->fed;
    real *const states = attn_nn_take(pass, rows * width);
    if (attn_nn_failed(pass)) return NULL;
    if (!attn_nn_looks(d->model) && weights != NULL) {
        memset(weights, 0, (size_t)(rows * s->scene.longest) * sizeof *weights);
    }
    attn_nn_columns_forward(pass, &layers->mix_context, context, rows, states);
    attn_nn_columns_add(pass, &layers->mix_state, top, rows, states);
    attn_nn_kernels_of(pass)->tanh(states, rows * width);
    if (attn_nn_looks(d->model)) copy_rows(s->fed, states, rows * width);
    return states;
}

static bool move(attn_nn_decoder *d, const int64_t *from, int64_t rows, real *x, int64_t width) {
    return x == NULL || attn_nn_move_rows(d->pass, x, width, width, from, rows, d->rows);
}

bool attn_nn_recurrent_decoder_reorder(attn_nn_decoder *d, const int64_t *from, int64_t rows) {
    const searching *const s = d->state;
    const attn_nn_config *const c = &d->model->config;
    bool good = true;
    for (int64_t l = 0; l < c->decoder_layers && good; l++) {
        good = move(d, from, rows, s->h[l], c->hidden) && move(d, from, rows, s->c[l], c->hidden);
    }
    return good && move(d, from, rows, s->fed, fed_width(d->model)) &&
           move(d, from, rows, s->previous, s->scene.longest);
}
