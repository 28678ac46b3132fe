/* The state of a training: read as it was written, to the bit, and written with its model or not. */
#include "support.h"

#include "target.h"

#include <math.h>
#include <unistd.h>

static float *make_array(int64_t size, int64_t seed) {
    float *const array = malloc((size_t)size * sizeof *array);
    for (int64_t i = 0; i < size; i++) array[i] = (float)(i * seed % 1009) / 3;
    return array;
}

/* Any bits: padding between parameters too. */
static model_state make_state(const model_file *file, bool average) {
    const int64_t size = attn_nn_model_layout(file->model)->size;
    return (model_state){
        .values = make_array(size, 3),
        .first = make_array(size, -5),
        .second = make_array(size, 7),
        .average = average ? make_array(size, 11) : NULL,
        .step = INT64_MAX,
        .epoch = 3,
        .position = INT64_C(1) << 40,
        .seed = UINT64_MAX - 1,
        .options = json_pack("{s:f, s:i}", "learning_rate", 1.0 / 3, "tokens", 4096),
        .progress = json_pack("{s:[f, f]}", "dev_bleu", 0.1, 41.7),
    };
}

static void save(const char *path, const model_file *file, const model_state *state) {
    io_error error = {0};
    if (!model_state_save(path, file, MODEL_F16, state, &error)) {
        print_error("%s\n", error.text);
        fail();
    }
}

static void assert_same_state(const model_state *a, const model_state *b, int64_t size) {
    const size_t bytes = (size_t)size * sizeof(float);
    assert_memory_equal(a->values, b->values, bytes);
    assert_memory_equal(a->first, b->first, bytes);
    assert_memory_equal(a->second, b->second, bytes);
    assert_true((a->average == NULL) == (b->average == NULL));
    if (a->average) assert_memory_equal(a->average, b->average, bytes);
    assert_true(a->step == b->step && a->epoch == b->epoch && a->position == b->position);
    assert_true(a->seed == b->seed);
    assert_true(json_equal(a->options, b->options));
    assert_true(json_equal(a->progress, b->progress));
}

static void test_round_trip(void **unused) {
    (void)unused;
    const attn_nn_config config = transformer_config();
    model_file file = make_model(&config);
    const char *const path = in_folder("m.safetensors");
    for (int average = 0; average < 2; average++) {
        model_state state = make_state(&file, average), read;
        io_error error = {0};
        save(path, &file, &state);
        assert_true(model_state_load(path, file.model, &read, &error));
        assert_same_state(&state, &read, attn_nn_model_layout(file.model)->size);
        model_state_free(&read);
        model_state_free(&state);
    }
    model_file read;
    assert_true(model_file_load(path, &read, NULL)); /* the model is there too */
    model_file_free(&read);
    model_file_free(&file);
}

static void test_paths(void **unused) {
    (void)unused;
    static const char *const paths[][2] = {
        {"a.b/fr-en.safetensors", "a.b/fr-en.state.safetensors"},
        {"model", "model.state.safetensors"},
        {".safetensors", ".state.safetensors"},
        {"x.safetensors.old", "x.safetensors.old.state.safetensors"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char *const made = model_state_path(paths[i][0]);
        assert_string_equal(made, paths[i][1]);
        free(made);
    }
}

/* --- Both files or neither ------------------------------------------------------------------------------- */

typedef struct pair {
    unsigned char *bytes[2];
    size_t sizes[2];
    int files;
} pair;

static pair read_pair(const char *path) {
    pair p = {.files = files_in_folder()};
    char *const state_path = model_state_path(path);
    p.bytes[0] = read_file(path, &p.sizes[0]);
    p.bytes[1] = read_file(state_path, &p.sizes[1]);
    free(state_path);
    return p;
}

/* Frees both. */
static void assert_same_pair(pair a, pair b) {
    for (int i = 0; i < 2; i++) {
        assert_int_equal(a.sizes[i], b.sizes[i]);
        assert_memory_equal(a.bytes[i], b.bytes[i], a.sizes[i]);
        free(a.bytes[i]);
        free(b.bytes[i]);
    }
    assert_int_equal(a.files, b.files);
}

static void assert_not_saved(const char *path, const model_file *file, const model_state *state,
                             const char *what) {
    io_error error = {0};
    const pair before = read_pair(path);
    assert_false(model_state_save(path, file, MODEL_F32, state, &error));
    assert_says(&error, "m.", what);
    assert_same_pair(before, read_pair(path));
}

/* The disk is full at any point of either file. The state is the longer one and is written first; with
 * room for it the model, of which there is less, fits too. So the model also fails for its values. */
static void test_no_room(void **unused) {
    (void)unused;
    const attn_nn_config config = transformer_config();
    model_file file = make_model(&config);
    model_state state = make_state(&file, false);
    const char *const path = in_folder("m.safetensors");
    save(path, &file, &state);
    state.step--, file.values[0] = 1; /* what is saved now would differ */
    const pair now = read_pair(path);
    for (size_t room = 1; room < now.sizes[1]; room += 1 + now.sizes[1] / 40) {
        limit_files(room);
        assert_not_saved(path, &file, &state, "cannot be written: File too large");
    }
    limit_files(0);
    file.values[0] = NAN;
    assert_not_saved(path, &file, &state, "m.safetensors: cannot be written: embedding.weight");
    file.values[0] = 1, state.second[5] = INFINITY;
    assert_not_saved(path, &file, &state, "second [5] is inf: expected a finite number");
    assert_same_pair(now, read_pair(path));
    model_state_free(&state);
    model_file_free(&file);
}

/* The second of two renames fails, because what it would rename is gone: the first is undone. */
static void check_second_rename(bool there_before) {
    io_target targets[2];
    io_error error = {0};
    size_t size = 0;
    const char *const paths[2] = {in_folder("first"), in_folder("second")};
    const int before = files_in_folder();
    for (int i = 0; i < 2; i++) {
        if (there_before) write_file(paths[i], "old", 3);
        assert_true(io_target_open(&targets[i], paths[i], &error));
        assert_int_equal(fputs("newer", targets[i].stream) >= 0, 1);
    }
    assert_int_equal(unlink(targets[1].temporary), 0);
    assert_false(io_targets_commit(targets, 2, &error));
    assert_says(&error, paths[1], "cannot be written: No such file or directory");
    assert_int_equal(files_in_folder(), before + (there_before ? 2 : 0));
    for (int i = 0; there_before && i < 2; i++) {
        unsigned char *const bytes = read_file(paths[i], &size);
        assert_int_equal(size, 3);
        assert_memory_equal(bytes, "old", 3);
        free(bytes);
        (void)unlink(paths[i]);
    }
}

static void test_second_rename(void **unused) {
    (void)unused;
    check_second_rename(false);
    check_second_rename(true);
}

/* --- What is no state of this model ------------------------------------------------------------------------ */

static const char *path;

static void assert_state_refused(const attn_nn_model *model, const char *what) {
    model_state state;
    io_error error = {0};
    assert_false(model_state_load(path, model, &state, &error));
    assert_says(&error, "m.state.safetensors", what);
    assert_null(state.values);
    assert_null(state.options);
}

static void change_array(const char *state_path, const char *name, const char *field,
                         json_t *value) {
    json_t *const header = read_header(state_path);
    if (value) (void)json_object_set_new(json_object_get(header, name), field, value);
    else (void)json_object_del(header, name);
    write_header(state_path, header);
    json_decref(header);
}

static void test_metadata(const model_file *file, const char *state_path) {
    static const char *const numbers[][3] = {
        {"step", "1.5", "metadata step is 1.5: expected a whole number, 0 or more"},
        {"epoch", "-1", "metadata epoch is -1: expected a whole number"},
        {"position", "9223372036854775808", "metadata position is 9223372036854775808: expected"},
        {"seed", "18446744073709551616", "metadata seed is 18446744073709551616: expected"},
        {"seed", "", "metadata seed is : expected"},
        {"step", NULL, "metadata step is nothing: expected"},
        {"options", NULL, "has no metadata options"},
        {"progress", "1", "metadata progress is not "},
        {"format", "libattn-seq2seq-1",
         "is not the state of a training: its metadata says the "
         "format is libattn-seq2seq-1, expected libattn-seq2seq-"
         "state-1"},
        {"config", "{}", "metadata config: has no field family"},
    };
    const size_t count = sizeof numbers / sizeof *numbers;
    for (size_t i = 0; i < count; i++) {
        size_t size = 0;
        unsigned char *const good = read_file(state_path, &size);
        write_metadata(state_path, numbers[i][0], numbers[i][1]);
        assert_state_refused(file->model, numbers[i][2]);
        write_file(state_path, good, size);
        free(good);
    }
}

static void test_arrays(const model_file *file, const char *state_path) {
    const int64_t size = attn_nn_model_layout(file->model)->size;
    char what[64];
    size_t bytes = 0;
    unsigned char *const good = read_file(state_path, &bytes);
    change_array(state_path, "first", "shape", json_pack("[I, i]", (json_int_t)size / 2, 2));
    (void)snprintf(what, sizeof what, "expected F32 [%lld]", (long long)size);
    assert_state_refused(file->model, what);
    change_array(state_path, "first", NULL, NULL);
    assert_state_refused(file->model, "has no tensor named first");
    write_file(state_path, good, bytes);
    change_array(state_path, "average", "dtype", json_string("I32"));
    assert_state_refused(file->model, "average is I32 of 1 dimensions");
    memset(good + bytes - 4, 0xFF, 4); /* of "values", the last by name */
    write_file(state_path, good, bytes);
    assert_state_refused(file->model, "nan: expected a finite number");
    write_file(state_path, good, bytes - 1);
    assert_state_refused(file->model, "damaged or cut short");
    free(good);
}

static void test_refusals(void **unused) {
    (void)unused;
    attn_nn_config config = transformer_config();
    model_file file = make_model(&config), other;
    model_state state = make_state(&file, true);
    path = in_folder("m.safetensors");
    char *const state_path = model_state_path(path);
    save(path, &file, &state);
    config.dropout = 0.2; /* of the same shapes, but not the same training */
    other = make_model(&config);
    assert_state_refused(other.model, "is the state of another model: its config.dropout differs");
    test_metadata(&file, state_path);
    test_arrays(&file, state_path);
    (void)unlink(state_path);
    assert_state_refused(file.model, "No such file or directory");
    free(state_path);
    model_state_free(&state);
    model_file_free(&other);
    model_file_free(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_paths),
        cmocka_unit_test(test_no_room),    cmocka_unit_test(test_second_rename),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
