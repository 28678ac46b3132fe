#include "array.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [ATTN_DTYPE_NONE] = {"none", 0},
    [ATTN_F32] = {"float32", sizeof(float)},
    [ATTN_F64] = {"float64", sizeof(double)},
    [ATTN_BOOL] = {"bool", 1},
    [ATTN_F16] = {"float16", 2},
    [ATTN_U8] = {"uint8", 1},
    [ATTN_I32] = {"int32", sizeof(int32_t)},
    [ATTN_I64] = {"int64", sizeof(int64_t)},
};

const char *io_dtype_name(attn_dtype dtype) {
    return dtypes[dtype].name;
}

size_t io_dtype_size(attn_dtype dtype) {
    return dtypes[dtype].size;
}

bool io_array_lay_out(io_array *array, bool fortran_order, size_t *bytes) {
    const int64_t limit = INT64_MAX / (int64_t)io_dtype_size(array->dtype);
    int64_t step = 1;
    bool empty = false;
    for (int i = 0; i < array->dims; i++) {
        const int axis = fortran_order ? i : array->dims - 1 - i;
        const int64_t size = array->shape[axis] > 0 ? array->shape[axis] : 1;
        if (step > limit / size) return false;
        array->stride[axis] = step;
        step *= size;
        empty = empty || array->shape[axis] == 0;
    }
    *bytes = empty ? 0 : (size_t)step * io_dtype_size(array->dtype);
    return true;
}

bool io_array_align(io_array *array, size_t bytes, const char *name, io_error *error) {
    if ((uintptr_t)array->data % io_dtype_size(array->dtype) == 0) return true;
    array->copy = malloc(bytes > 0 ? bytes : 1);
    if (!array->copy) return io_fail(error, "%s: no memory for %zu bytes", name, bytes);
    memcpy(array->copy, array->data, bytes);
    array->data = array->copy;
    return true;
}

attn_tensor io_array_tensor(const io_array *array, int end) {
    attn_tensor tensor = {
        .data = (void *)(uintptr_t)array->data, .dtype = array->dtype, .shape = {1, 1, 1, 1}};
    for (int i = 0; i < array->dims; i++) {
        const int axis = end - array->dims + i;
        tensor.shape[axis] = array->shape[i];
        tensor.stride[axis] = array->stride[i];
    }
    return tensor;
}

void io_array_close(io_array *array) {
    io_map_close(&array->map);
    free(array->copy);
    *array = (io_array){0};
}
