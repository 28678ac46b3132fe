#include "numbers.h"
#include "parameters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tensor_name {
    char text[ATTN_NN_NAME_MAX + sizeof ".scale"];
} tensor_name;

typedef struct matrix {
    const attn_nn_real *values;
    int64_t columns;
    const float *scales; /* of rows */
} matrix;

static bool make_halves(const io_safetensors_tensor *tensor, int64_t first, int64_t count,
                        void *elements, io_error *error) {
    const matrix *const m = tensor->user;
    uint16_t *const halves = elements;
    (void)error;
    for (int64_t i = 0; i < count; i++) halves[i] = model_half_from_float(m->values[first + i]);
    return true;
}

static bool make_bytes(const io_safetensors_tensor *tensor, int64_t first, int64_t count,
                       void *elements, io_error *error) {
    const matrix *const m = tensor->user;
    int8_t *const bytes = elements;
    (void)error;
    for (int64_t i = 0; i < count; i++) {
        bytes[i] = model_quantize(m->values[first + i], m->scales[(first + i) / m->columns]);
    }
    return true;
}

static bool check_values(const attn_nn_parameter *p, const attn_nn_real *values,
                         model_precision precision, const char *path, io_error *error) {
    /* What is rounded to 65536, if binary16 had it, is 65504 and half a step, or more. */
    const float limit = precision == MODEL_F16 && p->rows > 1 ? 65520 : INFINITY;
    for (int64_t k = 0; k < p->rows * p->columns; k++) {
        const float x = values[p->offset + k];
        if (fabsf(x) < limit) continue;
        const char *const expected = isfinite(x) ? "at most 65504 in binary16" : "a finite number";
        return io_fail(error, "%s: cannot be written: %s [%lld, %lld] is %g: expected %s", path,
                       p->name, (long long)(k / p->columns), (long long)(k % p->columns), (double)x,
                       expected);
    }
    return true;
}

static io_safetensors_tensor *add(model_tensors *made, const attn_nn_parameter *p,
                                  const char *suffix, io_safetensors_type type) {
    tensor_name *const name = (tensor_name *)made->names + made->count;
    io_safetensors_tensor *const tensor = &made->tensors[made->count++];
    (void)snprintf(name->text, sizeof name->text, "%s%s", p->name, suffix);
    tensor->name = name->text;
    tensor->type = type;
    return tensor;
}

static void add_parameter(model_tensors *made, const attn_nn_parameter *p,
                          const attn_nn_real *values, model_precision precision, matrix *m,
                          float *scales) {
    static const io_safetensors_type types[] = {IO_SAFETENSORS_F32, IO_SAFETENSORS_F16,
                                                IO_SAFETENSORS_I8};
    if (p->rows == 1) precision = MODEL_F32;
    io_safetensors_tensor *const tensor = add(made, p, "", types[precision]);
    tensor->dims = p->rows == 1 ? 1 : 2;
    tensor->shape[0] = p->rows == 1 ? p->columns : p->rows;
    tensor->shape[1] = p->columns;
    *m = (matrix){values + p->offset, p->columns, scales};
    tensor->user = m;
    if (precision == MODEL_F32) tensor->data = m->values;
    if (precision == MODEL_F16) tensor->make = make_halves;
    if (precision != MODEL_I8) return;
    tensor->make = make_bytes;
    for (int64_t r = 0; r < p->rows; r++) {
        scales[r] = model_scale(m->values + r * p->columns, p->columns);
    }
    io_safetensors_tensor *const scale = add(made, p, ".scale", IO_SAFETENSORS_F32);
    scale->dims = 1;
    scale->shape[0] = p->rows;
    scale->data = scales;
}

bool model_tensors_make(model_tensors *made, const attn_nn_layout *layout,
                        const attn_nn_real *values, model_precision precision, const char *path,
                        io_error *error) {
    const size_t count = (size_t)layout->count, most = 2 * count + MODEL_MORE_TENSORS;
    int64_t rows = 0;
    *made = (model_tensors){0};
    for (size_t i = 0; i < count; i++) {
        if (!check_values(&layout->parameters[i], values, precision, path, error)) return false;
        rows += layout->parameters[i].rows;
    }
    made->tensors = calloc(most, sizeof *made->tensors);
    made->names = calloc(most, sizeof(tensor_name));
    made->matrices = calloc(most, sizeof(matrix));
    made->scales = calloc((size_t)rows + 1, sizeof *made->scales);
    if (!made->tensors || !made->names || !made->matrices || !made->scales) {
        model_tensors_free(made);
        return io_fail(error, "%s: out of memory", path);
    }
    float *scales = made->scales;
    for (size_t i = 0; i < count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        add_parameter(made, p, values, precision, (matrix *)made->matrices + i, scales);
        scales += p->rows;
    }
    return true;
}

void model_tensors_free(model_tensors *made) {
    free(made->tensors);
    free(made->names);
    free(made->matrices);
    free(made->scales);
    *made = (model_tensors){0};
}
