/* Parameters out of any safetensors file: state dicts of PyTorch's, by their names. The files are made
 * by io_safetensors_write, whose bytes test_python.py holds to the reference implementation's. */
#include "support.h"

#include "safetensors_write.h"

#include <math.h>

enum { IN = 3, HIDDEN = 2, ROWS = 4 * HIDDEN };

/* An nn.LSTM(3, 2) of one layer and two directions, in a module that calls it "encoder", and its output
 * layer, as a state dict has them. Element k of tensor i is 100 i + k, in some type that holds it. */
static const io_safetensors_tensor dict[] = {
    {.name = "encoder.weight_ih_l0", .type = IO_SAFETENSORS_F32, .dims = 2, .shape = {ROWS, IN}},
    {.name = "encoder.weight_hh_l0",
     .type = IO_SAFETENSORS_F64,
     .dims = 2,
     .shape = {ROWS, HIDDEN}},
    {.name = "encoder.bias_ih_l0", .type = IO_SAFETENSORS_F16, .dims = 1, .shape = {ROWS}},
    {.name = "encoder.bias_hh_l0", .type = IO_SAFETENSORS_F32, .dims = 2, .shape = {1, ROWS}},
    {.name = "encoder.weight_ih_l0_reverse",
     .type = IO_SAFETENSORS_F32,
     .dims = 2,
     .shape = {ROWS, IN}},
    {.name = "encoder.weight_hh_l0_reverse",
     .type = IO_SAFETENSORS_F32,
     .dims = 2,
     .shape = {ROWS, HIDDEN}},
    {.name = "encoder.bias_ih_l0_reverse", .type = IO_SAFETENSORS_F32, .dims = 1, .shape = {ROWS}},
    {.name = "encoder.bias_hh_l0_reverse", .type = IO_SAFETENSORS_F32, .dims = 1, .shape = {ROWS}},
    {.name = "out.weight", .type = IO_SAFETENSORS_F32, .dims = 2, .shape = {5, HIDDEN}},
    {.name = "out.bias", .type = IO_SAFETENSORS_F32, .dims = 1, .shape = {5}},
};
enum { TENSORS = sizeof dict / sizeof *dict };

/* 1 sign, 5 exponent, 10 fraction; for whole numbers of up to 11 bits. */
static uint16_t half_of(int64_t x) {
    int exponent = 0;
    const double fraction = frexp((double)x, &exponent); /* 0.5 .. 1 */
    return (uint16_t)(x ? (exponent + 14) * 1024 + (int)(fraction * 2048) - 1024 : 0);
}

static bool make_element(const io_safetensors_tensor *tensor, int64_t first, int64_t count,
                         void *elements, io_error *error) {
    const int64_t base = 100 * *(const int64_t *)tensor->user;
    (void)error;
    for (int64_t k = 0; k < count; k++) {
        const int64_t x = base + first + k;
        if (tensor->type == IO_SAFETENSORS_F64) ((double *)elements)[k] = (double)x;
        if (tensor->type == IO_SAFETENSORS_F32) ((float *)elements)[k] = (float)x;
        if (tensor->type == IO_SAFETENSORS_F16) ((uint16_t *)elements)[k] = half_of(x);
    }
    return true;
}

static const char *write_dict(void) {
    static int64_t numbers[TENSORS];
    io_safetensors_tensor tensors[TENSORS];
    io_target target;
    io_error error = {0};
    const char *const path = in_folder("dict.safetensors");
    for (int i = 0; i < TENSORS; i++) {
        numbers[i] = i;
        tensors[i] = dict[i];
        tensors[i].make = make_element;
        tensors[i].user = &numbers[i];
    }
    assert_true(io_target_open(&target, path, &error));
    assert_true(io_safetensors_write(&target, tensors, TENSORS, NULL, 0, &error));
    assert_true(io_targets_commit(&target, 1, &error));
    return path;
}

/* Both directions and the output layer, in one layout. */
static attn_nn_layout make_layout(void) {
    attn_nn_layout layout = {0};
    (void)attn_nn_recurrent_make(&layout, "forth", ATTN_NN_LSTM, IN, HIDDEN, false);
    (void)attn_nn_recurrent_make(&layout, "back", ATTN_NN_LSTM, IN, HIDDEN, true);
    (void)attn_nn_linear_make(&layout, "project", HIDDEN, 5, true);
    assert_false(layout.failed);
    return layout;
}

static void check(const attn_nn_layout *layout, const float *values, const char *name, int number) {
    const attn_nn_parameter *const p = attn_nn_layout_find(layout, name);
    assert_non_null(p);
    for (int64_t k = 0; k < p->rows * p->columns; k++) {
        assert_true(values[p->offset + k] == (float)(100 * number + k));
    }
}

static void load(const char *path, const char *prefix, const char *suffix, const char *parameters,
                 const attn_nn_layout *layout, float *values) {
    const model_names names = {prefix, suffix, parameters};
    io_error error = {0};
    if (model_load_parameters(path, &names, layout, values, &error)) return;
    print_error("%s\n", error.text);
    fail();
}

static void test_names(void **state) {
    (void)state;
    attn_nn_layout layout = make_layout();
    const char *const path = write_dict();
    float *const values = calloc((size_t)layout.size, sizeof *values);
    load(path, "encoder.", "_l0", "forth.", &layout, values);
    check(&layout, values, "forth.weight_ih", 0);
    check(&layout, values, "forth.weight_hh", 1);
    check(&layout, values, "forth.bias_ih", 2);
    check(&layout, values, "forth.bias_hh", 3);
    const attn_nn_parameter *const other = attn_nn_layout_find(&layout, "back.weight_ih");
    for (int64_t k = other->offset; k < layout.size; k++) assert_true(values[k] == 0);
    load(path, "encoder.", "_l0_reverse", "back.", &layout, values);
    load(path, "out.", NULL, "project.", &layout, values);
    for (int i = 4; i < TENSORS; i++) {
        static const char *const names[] = {"back.weight_ih", "back.weight_hh", "back.bias_ih",
                                            "back.bias_hh",   "project.weight", "project.bias"};
        check(&layout, values, names[i - 4], i);
    }
    check(&layout, values, "forth.weight_ih", 0); /* still */
    free(values);
    attn_nn_layout_free(&layout);
}

static void refuse(const char *path, const model_names *names, const attn_nn_layout *layout,
                   const char *what) {
    io_error error = {0};
    float *const values = calloc((size_t)layout->size, sizeof *values);
    assert_false(model_load_parameters(path, names, layout, values, &error));
    assert_says(&error, path, what);
    for (int64_t k = 0; k < layout->size; k++) assert_true(values[k] == 0);
    free(values);
}

static void test_misfits(void **state) {
    (void)state;
    attn_nn_layout layout = make_layout(), wide = {0};
    const char *const path = write_dict();
    (void)attn_nn_recurrent_make(&wide, "forth", ATTN_NN_LSTM, IN + 1, HIDDEN, false);
    const model_names none = {NULL, NULL, NULL}, forth = {"encoder.", "_l0", "forth."};
    refuse(path, &none, &layout,
           "missing forth.weight_ih, forth.weight_hh, forth.bias_ih and 7 more; unexpected ");
    refuse(path, NULL, &layout, " and 7 more");
    const model_names loose = {"encoder.", NULL, "forth."};
    refuse(path, &loose, &layout, "missing encoder.weight_ih, ");
    const model_names output = {"out.", NULL, "project.w"};
    refuse(path, &output, &layout, "missing out.eight; unexpected out.bias, out.weight");
    refuse(path, &forth, &wide, "encoder.weight_ih_l0 is F32 [8, 3], expected [8, 4]");
    attn_nn_layout_free(&wide);
    attn_nn_layout_free(&layout);
}

/* A double beyond float32, and what is no number: values stay as they were, the ones before it too. */
static void test_elements(void **state) {
    (void)state;
    attn_nn_layout layout = {0};
    const double x[] = {1, 2, 1e39, NAN};
    const io_safetensors_tensor tensors[] = {
        {.name = "a", .type = IO_SAFETENSORS_F64, .dims = 1, .shape = {2}, .data = x},
        {.name = "b", .type = IO_SAFETENSORS_F64, .dims = 1, .shape = {1}, .data = x + 2},
        {.name = "c", .type = IO_SAFETENSORS_F64, .dims = 1, .shape = {1}, .data = x + 3}};
    const char *const path = in_folder("dict.safetensors");
    io_target target;
    assert_true(io_target_open(&target, path, NULL));
    assert_true(io_safetensors_write(&target, tensors, 3, NULL, 0, NULL));
    assert_true(io_targets_commit(&target, 1, NULL));
    (void)attn_nn_layout_add(&layout, "a", 1, 2, ATTN_NN_ZERO, 0);
    (void)attn_nn_layout_add(&layout, "b", 1, 1, ATTN_NN_ZERO, 0);
    (void)attn_nn_layout_add(&layout, "c", 1, 1, ATTN_NN_ZERO, 0);
    refuse(path, NULL, &layout, "b [0, 0] is inf: expected a finite number");
    attn_nn_layout_free(&layout);
}

/* bfloat16 is the upper half of float32. */
static void test_bfloat16(void **state) {
    (void)state;
    static const uint16_t bits[] = {0x3F80, 0xC000, 0x3E80, 0x0001}; /* 1, -2, 1/4, 2^-133 */
    const io_safetensors_tensor tensor = {
        .name = "x", .type = IO_SAFETENSORS_BF16, .dims = 2, .shape = {2, 2}, .data = bits};
    attn_nn_layout layout = {0};
    const char *const path = in_folder("dict.safetensors");
    io_target target;
    float values[16];
    assert_true(io_target_open(&target, path, NULL));
    assert_true(io_safetensors_write(&target, &tensor, 1, NULL, 0, NULL));
    assert_true(io_targets_commit(&target, 1, NULL));
    (void)attn_nn_layout_add(&layout, "x", 2, 2, ATTN_NN_ZERO, 0);
    load(path, NULL, NULL, NULL, &layout, values);
    assert_true(values[0] == 1 && values[1] == -2 && values[2] == 0.25F && values[3] == 0x1p-133F);
    attn_nn_layout_free(&layout);
}

static void test_writer_refuses(void **state) {
    (void)state;
    const float x[2] = {1, 2};
    const io_safetensors_tensor good = {
        .name = "x", .type = IO_SAFETENSORS_F32, .dims = 1, .shape = {2}, .data = x};
    io_safetensors_tensor bad[2] = {good, good};
    io_target target;
    io_error error = {0};
    const char *const path = in_folder("bad.safetensors");
    assert_true(io_target_open(&target, path, &error));
    assert_false(io_safetensors_write(&target, bad, 2, NULL, 0, &error));
    assert_says(&error, path, "x cannot be written: it is named twice");
    bad[0].name = "\xFF";
    assert_false(io_safetensors_write(&target, bad, 1, NULL, 0, &error));
    assert_says(&error, path, "is not UTF-8");
    bad[0] = good, bad[0].shape[0] = -1;
    assert_false(io_safetensors_write(&target, bad, 1, NULL, 0, &error));
    assert_says(&error, path, "x: its type or shape cannot be written");
    bad[0] = good, bad[0].dims = 4;
    for (int i = 0; i < 4; i++) bad[0].shape[i] = INT64_C(1) << 20;
    assert_false(io_safetensors_write(&target, bad, 1, NULL, 0, &error));
    assert_says(&error, path, "x: its type or shape cannot be written");
    bad[0] = good, bad[0].type = IO_SAFETENSORS_OTHER;
    assert_false(io_safetensors_write(&target, bad, 1, NULL, 0, &error));
    assert_says(&error, path, "x: its type or shape cannot be written");
    io_target_discard(&target);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_elements),       cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_writer_refuses),
    };
    return cmocka_run_group_tests_name("parameters", tests, NULL, NULL);
}
