#include "look.h"

#include <math.h>

/* Chorowski et al. look 100 frames of speech to either side; words are where they were within a few. */
enum { LOCATION_CHANNELS = 8, LOCATION_WINDOW = 7 };

static const real one = 1;

static int64_t add_matrix(attn_nn_layout *layout, const char *name, int64_t rows, int64_t columns,
                          int64_t fan_in) {
    return attn_nn_layout_add(layout, attn_nn_join("decoder.look", name).text, rows, columns,
                              ATTN_NN_UNIFORM, 1 / sqrt((double)fan_in));
}

static attn_nn_columns add_part(attn_nn_layout *layout, const char *name, int64_t in, int64_t out,
                                bool bias) {
    const attn_nn_linear made =
        attn_nn_linear_make(layout, attn_nn_join("decoder.look", name).text, in, out, bias);
    return attn_nn_columns_of(made.weight, in, 0, in, out, made.bias);
}

static void make_dot(attn_nn_layout *layout, attn_nn_looking *look) {
    const int64_t hidden = look->hidden;
    look->width = hidden;
    if (look->kind == ATTN_NN_LOOK_GENERAL || look->kind == ATTN_NN_LOOK_MULTI_HEAD) {
        look->key = add_part(layout, "key", hidden, hidden, false);
    }
    if (look->kind == ATTN_NN_LOOK_MULTI_HEAD) {
        look->query = add_part(layout, "query", hidden, hidden, false);
        look->value = add_part(layout, "value", hidden, hidden, false);
    }
}

static void make_additive(attn_nn_layout *layout, const attn_nn_config *config,
                          attn_nn_looking *look) {
    const int64_t hidden = look->hidden, width = config->look_width;
    look->width = width;
    if (look->kind == ATTN_NN_LOOK_CONCAT) {
        const int64_t both = add_matrix(layout, "projection", width, 2 * hidden, 2 * hidden);
        look->query = attn_nn_columns_of(both, 2 * hidden, 0, hidden, width, -1);
        look->key = attn_nn_columns_of(both, 2 * hidden, hidden, hidden, width, -1);
    } else {
        look->query = add_part(layout, "query", hidden, width, false);
        look->key = add_part(layout, "key", hidden, width, true);
    }
    look->weight = add_matrix(layout, "weight", 1, width, width);
    if (look->kind == ATTN_NN_LOOK_LOCATION) {
        look->channels = LOCATION_CHANNELS, look->window = LOCATION_WINDOW;
        look->filters = add_matrix(layout, "filters", look->channels, look->window, look->window);
        look->features = add_matrix(layout, "features", width, look->channels, look->channels);
    } else if (look->coverage) {
        look->channels = 1, look->window = 1;
        look->features = add_matrix(layout, "coverage", width, 1, width);
    }
}

attn_nn_looking attn_nn_look_make(attn_nn_layout *layout, const attn_nn_config *config) {
    const int64_t hidden = config->hidden;
    attn_nn_looking look = {.kind = config->look, .coverage = config->coverage, .hidden = hidden};
    look.query.in = look.key.in = look.value.in = hidden;
    look.heads = look.kind == ATTN_NN_LOOK_MULTI_HEAD ? config->heads : 1;
    switch (look.kind) {
    case ATTN_NN_LOOK_NONE: break;
    case ATTN_NN_LOOK_DOT:
    case ATTN_NN_LOOK_GENERAL:
    case ATTN_NN_LOOK_MULTI_HEAD: make_dot(layout, &look); break;
    case ATTN_NN_LOOK_CONCAT:
    case ATTN_NN_LOOK_ADDITIVE:
    case ATTN_NN_LOOK_LOCATION: make_additive(layout, config, &look); break;
    }
    return look;
}

static const real *project(attn_nn_pass *pass, const attn_nn_columns *by,
                           const attn_nn_scene *scene) {
    if (by->out == 0) return scene->memory;
    real *const y = attn_nn_take(pass, scene->rows * by->out);
    if (y != NULL) attn_nn_columns_forward(pass, by, scene->memory, scene->rows, y);
    return y;
}

void attn_nn_look_prepare(attn_nn_pass *pass, const attn_nn_looking *look, attn_nn_scene *scene) {
    if (look->kind == ATTN_NN_LOOK_NONE) return;
    scene->keys = project(pass, &look->key, scene);
    scene->values = project(pass, &look->value, scene);
}

/* --- Problems for libattn ------------------------------------------------------------------------- */

/* [rows, heads, width] as [1, heads, rows, width]. */
static attn_tensor heads_of(const real *data, int64_t heads, int64_t rows, int64_t width) {
    attn_tensor t = attn_tensor_dense(data, NN_DTYPE, 1, heads, rows, width);
    t.stride[1] = width, t.stride[2] = heads * width;
    return t;
}

static attn_tensor weights_of(const real *data, const attn_nn_looking *look,
                              const attn_nn_scene *scene, const attn_nn_glance *glance,
                              int64_t rows) {
    attn_tensor t = attn_tensor_dense(data, NN_DTYPE, 1, look->heads, rows, scene->longest);
    t.stride[1] = glance->weights_head;
    return t;
}

static attn_tensor matrix(const real *data, int64_t rows, int64_t columns) {
    return attn_tensor_dense(data, NN_DTYPE, 1, 1, rows, columns);
}

static bool is_additive(const attn_nn_looking *look) {
    return look->kind == ATTN_NN_LOOK_CONCAT || look->kind == ATTN_NN_LOOK_ADDITIVE ||
           look->kind == ATTN_NN_LOOK_LOCATION;
}

static void pose_location(const attn_nn_pass *pass, const attn_nn_looking *look,
                          const attn_nn_scene *scene, const attn_nn_glance *glance,
                          attn_location *location) {
    location->previous = attn_tensor_dense(glance->previous, NN_DTYPE, glance->sentences, 1,
                                           glance->previous_rows, scene->longest);
    location->previous.stride[0] = glance->previous_sentence;
    location->previous.stride[2] = glance->previous_row;
    location->filters = matrix(look->window == 1 ? &one : pass->values + look->filters,
                               look->channels, look->window);
    location->projection = matrix(pass->values + look->features, look->width, look->channels);
}

static void pose(const attn_nn_pass *pass, const attn_nn_looking *look, const attn_nn_scene *scene,
                 const attn_nn_glance *glance, attn_location *location, attn_problem *p) {
    const int64_t heads = look->heads, rows = glance->starts[glance->sentences];
    const int64_t key_rows = scene->sentences.starts[glance->sentences];
    memset(p, 0, sizeof *p);
    p->query = heads_of(glance->query, heads, rows, look->width / heads);
    p->key = heads_of(scene->keys, heads, key_rows, look->width / heads);
    p->value = heads_of(scene->values, heads, key_rows, look->hidden / heads);
    p->output = heads_of(glance->context, heads, rows, look->hidden / heads);
    p->lse = heads_of(glance->lse, heads, rows, 1);
    if (glance->weights) p->weights = weights_of(glance->weights, look, scene, glance, rows);
    p->mask.query_starts = glance->starts;
    p->mask.key_starts = scene->sentences.starts;
    p->mask.sequences = glance->sentences;
    p->score.scale = look->kind == ATTN_NN_LOOK_MULTI_HEAD ? 0 : 1;
    if (is_additive(look)) {
        p->score.kind = ATTN_SCORE_ADDITIVE;
        p->score.weight = matrix(pass->values + look->weight, 1, look->width);
    }
    if (attn_nn_look_remembers(look)) {
        memset(location, 0, sizeof *location);
        pose_location(pass, look, scene, glance, location);
        p->score.location = location;
    }
}

void attn_nn_look_forward(attn_nn_pass *pass, const attn_nn_looking *look,
                          const attn_nn_scene *scene, const attn_nn_glance *glance) {
    if (attn_nn_failed(pass)) return;
    attn_location location;
    attn_problem problem;
    pose(pass, look, scene, glance, &location, &problem);
    attn_nn_check(pass, attn_forward(pass->context, &problem));
}

/* Where libattn, which sets gradients, leaves those of parameters, which are to be added. */
typedef struct {
    real *weight, *filters, *features;
} learned;

static void pose_learned(attn_nn_pass *pass, const attn_nn_looking *look, learned *by,
                         attn_input_gradients *to) {
    memset(by, 0, sizeof *by);
    if (!is_additive(look)) return;
    by->weight = attn_nn_take(pass, look->width);
    to->weight = matrix(by->weight, 1, look->width);
    if (!attn_nn_look_remembers(look)) return;
    by->features = attn_nn_take(pass, look->width * look->channels);
    to->location_projection = matrix(by->features, look->width, look->channels);
    if (look->window == 1) return;
    by->filters = attn_nn_take(pass, look->channels * look->window);
    to->filters = matrix(by->filters, look->channels, look->window);
}

static void add_learned(const attn_nn_pass *pass, const attn_nn_looking *look, const learned *by) {
    const attn_nn_kernels *const k = attn_nn_kernels_of(pass);
    real *const g = pass->gradients;
    if (by->weight) k->add(g + look->weight, 1, by->weight, look->width);
    if (by->features) k->add(g + look->features, 1, by->features, look->width * look->channels);
    if (by->filters) k->add(g + look->filters, 1, by->filters, look->channels * look->window);
}

void attn_nn_look_back(attn_nn_pass *pass, const attn_nn_looking *look, const attn_nn_scene *scene,
                       const attn_nn_glance *glance, const attn_nn_glance_back *back) {
    if (attn_nn_failed(pass)) return;
    const size_t mark = attn_nn_mark(pass);
    attn_location location;
    attn_problem p;
    pose(pass, look, scene, glance, &location, &p);
    const int64_t heads = look->heads, rows = p.query.shape[2], key_rows = p.key.shape[2];
    attn_result_gradients from;
    attn_input_gradients to;
    learned by = {0};
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    from.output = heads_of(back->d_context, heads, rows, look->hidden / heads);
    if (back->d_weights) from.weights = weights_of(back->d_weights, look, scene, glance, rows);
    if (back->d_query) to.query = heads_of(back->d_query, heads, rows, look->width / heads);
    if (back->d_keys) to.key = heads_of(back->d_keys, heads, key_rows, look->width / heads);
    if (back->d_values) to.value = heads_of(back->d_values, heads, key_rows, look->hidden / heads);
    if (back->d_previous) {
        to.previous =
            attn_tensor_dense(back->d_previous, NN_DTYPE, glance->sentences, 1, 1, scene->longest);
    }
    if (back->learn) pose_learned(pass, look, &by, &to);
    if (!attn_nn_failed(pass)) attn_nn_check(pass, attn_backward(pass->context, &p, &from, &to));
    if (!attn_nn_failed(pass)) add_learned(pass, look, &by);
    attn_nn_release(pass, mark);
}

static void unproject(attn_nn_pass *pass, const attn_nn_columns *by, const attn_nn_scene *scene,
                      const real *d_y, real *d_memory) {
    if (by->out == 0) {
        attn_nn_kernels_of(pass)->add(d_memory, 1, d_y, scene->rows * by->in);
        return;
    }
    attn_nn_columns_learn(pass, by, scene->memory, d_y, scene->rows);
    attn_nn_columns_back(pass, by, d_y, scene->rows, 1, d_memory);
}

void attn_nn_look_finish(attn_nn_pass *pass, const attn_nn_looking *look,
                         const attn_nn_scene *scene, const real *d_keys, const real *d_values,
                         real *d_memory) {
    if (attn_nn_failed(pass)) return;
    unproject(pass, &look->key, scene, d_keys, d_memory);
    unproject(pass, &look->value, scene, d_values, d_memory);
}
