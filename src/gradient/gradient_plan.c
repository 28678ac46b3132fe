/* gradient_plan.c: what a call of the backward has to find, and with which factors. */
#include "api/check.h"
#include "gradient/gradient.h"

static const attn_tensor *given(const attn_tensor *t) {
    return attn_is_given(t) ? t : NULL;
}

void attn_gradient_list(attn_gradient_call *call, const attn_input_gradients *to) {
    const bool of_keys = call->problem.score.kind == ATTN_SCORE_LOCATION;
    const attn_tensor *const matrices[ATTN_MATRICES] = {
        [ATTN_OF_WEIGHT] = of_keys ? NULL : given(&to->weight),
        [ATTN_OF_PROJECTION] = given(&to->projection),
        [ATTN_OF_OFFSET] = given(&to->offset),
        [ATTN_OF_RELATIVE_BIAS] = given(&to->relative_bias),
        [ATTN_OF_RELATIVE_KEYS] = given(&to->relative_keys),
        [ATTN_OF_RELATIVE_QUERIES] = given(&to->relative_queries),
        [ATTN_OF_RELATIVE_VALUES] = given(&to->relative_values),
        [ATTN_OF_CONTENT_BIAS] = given(&to->content_bias),
        [ATTN_OF_POSITION_BIAS] = given(&to->position_bias),
        [ATTN_OF_FILTERS] = given(&to->filters),
        [ATTN_OF_LOCATION_PROJECTION] = given(&to->location_projection),
    };
    const attn_tensor *const numbers[ATTN_NUMBERS] = {
        [ATTN_OF_SCALE] = given(&to->scale),
        [ATTN_OF_SCALES] = given(&to->scales),
        [ATTN_OF_SOFTCAP] = given(&to->softcap),
        [ATTN_OF_TEMPERATURE] = given(&to->temperature),
        [ATTN_OF_SLOPES] = given(&to->alibi_slopes),
        [ATTN_OF_SINKS] = given(&to->sinks),
        [ATTN_OF_SIGMOID_BIAS] = given(&to->sigmoid_bias),
        [ATTN_OF_SIGMA] = given(&to->sigma),
    };
    const attn_tensor *const lines[ATTN_LINES] = {
        [ATTN_OF_BIAS] = given(&to->bias),
        [ATTN_OF_PREVIOUS] = given(&to->previous),
        [ATTN_OF_CENTERS] = given(&to->centers),
    };
    for (int i = 0; i < ATTN_MATRICES; i++) call->matrix[i] = matrices[i];
    for (int i = 0; i < ATTN_NUMBERS; i++) call->number[i] = numbers[i];
    for (int i = 0; i < ATTN_LINES; i++) {
        call->line[i] = lines[i];
        call->by_block |= lines[i] && lines[i]->shape[2] != 1;
    }
}

/* Whether anything but values, what is added to them, and local factors is asked for. */
static bool wants_scores(const attn_gradient_call *call, const attn_input_gradients *to) {
    bool any = attn_is_given(&to->query) || attn_is_given(&to->key) || attn_is_given(&to->weight) ||
               call->line[ATTN_OF_BIAS] || call->line[ATTN_OF_PREVIOUS] ||
               call->problem.score.callback;
    for (int i = 0; i < ATTN_MATRICES; i++) any |= call->matrix[i] && i != ATTN_OF_RELATIVE_VALUES;
    for (int i = 0; i < ATTN_NUMBERS; i++) any |= call->number[i] && i != ATTN_OF_SIGMA;
    return any;
}

/* Scores are made bare, so that their gradients with respect to scale are products with them; the
 * factor joins in WEIGH, or in a multiplication where something is added before. */
static void set_factors(attn_gradient_call *call) {
    attn_plan *const plan = &call->plan;
    const bool per_head = attn_is_given(&call->problem.score.scales);
    const double set = call->problem.normalizer.temperature;
    call->temperature = set > 0 ? set : 1;
    call->natural = per_head || plan->query_factor != 1 || plan->scale != plan->score_factor;
    if (call->natural) {
        plan->weigh_factor /= plan->score_factor;
        plan->score_factor = 1;
    }
    plan->query_factor = 1;
    plan->bare = true;
    call->pending = call->problem.score.callback ? 1 : 1 / call->temperature;
}

/* Softmax makes weights by the log-sum-exp, and takes the mean from the output unless a walk finds it. */
static void find_missing(attn_gradient_call *call) {
    const bool softmax = call->plan.weighing == ATTN_WEIGH_ONLINE;
    const bool means = call->scores && !call->walk_rows && attn_is_given(&call->from->output);
    call->saved.lacks_lse = softmax && !attn_is_given(&call->saved.lse);
    call->saved.lacks_output =
        softmax && means && !attn_is_given(&call->saved.output) && call->plan.d_value > 0;
}

bool attn_gradient_plan(attn_gradient_call *call, const attn_problem *problem,
                        const attn_result_gradients *from, const attn_input_gradients *to,
                        const attn_tiles *tiles, int threads) {
    static const attn_tensor none = {0};
    *call = (attn_gradient_call){.problem = *problem, .from = from, .to = to};
    if (problem->views) {
        call->heads.heads = problem->views->heads;
        call->heads.head_count = problem->views->head_count;
    }
    call->saved.output = problem->output;
    call->saved.lse = problem->lse;
    call->problem.output = call->problem.lse = call->problem.weights = none;
    call->problem.views = &call->heads;
    attn_gradient_list(call, to);
    call->scores = wants_scores(call, to);
    if (!attn_plan_make(&call->plan, &call->problem, tiles, threads)) return false;
    set_factors(call);
    const attn_normalizer *const n = &problem->normalizer;
    call->modified = n->dropout > 0 || n->local;
    call->walk_rows = attn_is_given(&from->weights) || attn_is_given(&from->received_sum) ||
                      attn_is_given(&from->entropy) || call->plan.weighing == ATTN_WEIGH_ROWS;
    find_missing(call);
    attn_gradient_fill_table(call, NULL);
    call->worker_bytes = attn_plan_workspace(&call->plan, NULL, NULL);
    call->forward_bytes = call->worker_bytes;
    call->worker_bytes += attn_gradient_workspace(call, NULL, NULL);
    call->plan.workers = attn_worker_count(&call->plan, 3 * call->plan.d + 2 * call->plan.d_value,
                                           attn_larger(call->end.tasks, 1), threads);
    return true;
}
