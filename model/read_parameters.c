#include "numbers.h"
#include "parameters.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* --- Names ---------------------------------------------------------------------------------------- */

/* A parameter's name in a file, and that of its scales. */
typedef struct file_name {
    char text[512];
} file_name;

static const char *or_empty(const char *text) {
    return text ? text : "";
}

static bool chosen(const model_names *names, const attn_nn_parameter *p) {
    const char *const parameters = or_empty(names->parameters);
    return strncmp(p->name, parameters, strlen(parameters)) == 0;
}

static file_name name_in_file(const model_names *names, const attn_nn_parameter *p,
                              const char *more) {
    file_name name;
    (void)snprintf(name.text, sizeof name.text, "%s%s%s%s", or_empty(names->prefix),
                   p->name + strlen(or_empty(names->parameters)), or_empty(names->suffix), more);
    return name;
}

/* Whether PREFIX and SUFFIX fit, each in a place of its own. */
static bool fits(const model_names *names, const char *name) {
    const char *const prefix = or_empty(names->prefix), *const suffix = or_empty(names->suffix);
    const size_t before = strlen(prefix), after = strlen(suffix), length = strlen(name);
    return length >= before + after && strncmp(name, prefix, before) == 0 &&
           strcmp(name + length - after, suffix) == 0;
}

/* --- What is wrong, all of it at once ------------------------------------------------------------- */

enum { SHOWN = 3 }; /* examples of each kind of fault */

typedef struct faults {
    char text[300];
    int count;
} faults;

typedef struct report {
    faults missing, differing, unexpected;
} report;

__attribute__((format(printf, 2, 3))) static void append(faults *list, const char *format, ...) {
    const size_t used = strlen(list->text);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(list->text + used, sizeof list->text - used, format, arguments);
    va_end(arguments);
}

/* Counts a fault; whether it is to be shown, after what separates it from the one before. */
static bool show(faults *list) {
    if (++list->count > SHOWN) return false;
    if (list->count > 1) append(list, ", ");
    return true;
}

static void finish(faults *list, const char *before, char *text, size_t size) {
    if (list->count == 0) return;
    if (list->count > SHOWN) append(list, " and %d more", list->count - SHOWN);
    const size_t used = strlen(text);
    (void)snprintf(text + used, size - used, "%s%s%s", used ? "; " : "", before, list->text);
}

static bool verdict(report *found, const char *path, io_error *error) {
    char text[960] = "";
    finish(&found->missing, "missing ", text, sizeof text);
    finish(&found->differing, "", text, sizeof text);
    finish(&found->unexpected, "unexpected ", text, sizeof text);
    if (*text == '\0') return true;
    return io_fail(error, "%s: its tensors do not fit the model: %s", path, text);
}

/* --- Checks ---------------------------------------------------------------------------------------- */

static bool readable(io_safetensors_type type) {
    return type == IO_SAFETENSORS_F32 || type == IO_SAFETENSORS_F16 || type == IO_SAFETENSORS_I8 ||
           type == IO_SAFETENSORS_BF16 || type == IO_SAFETENSORS_F64;
}

static void describe_shape(const io_safetensors_raw *raw, faults *list) {
    append(list, "[");
    for (int i = 0; i < raw->dims; i++) {
        append(list, "%s%" PRId64, i ? ", " : "", raw->shape[i]);
    }
    append(list, "]");
}

/* Vectors may have one row, or none. */
static bool has_shape(const io_safetensors_raw *raw, int64_t rows, int64_t columns) {
    if (raw->dims == 1) return rows == 1 && raw->shape[0] == columns;
    return raw->dims == 2 && raw->shape[0] == rows && raw->shape[1] == columns;
}

static void describe_difference(faults *list, const char *name, const io_safetensors_raw *raw,
                                bool read, bool type, const char *types) {
    if (read) {
        append(list, "%.100s is %.8s ", name, raw->type_name);
        describe_shape(raw, list);
    } else {
        append(list, "%.100s has more than %d dimensions", name, IO_SAFETENSORS_DIMS);
    }
    append(list, ", expected %s", read && !type ? types : "");
}

static void check_tensor(const io_safetensors *file, const char *name, int64_t rows,
                         int64_t columns, bool scales, io_safetensors_raw *raw, report *found) {
    faults *const list = &found->differing;
    if (!io_safetensors_has(file, name)) {
        if (show(&found->missing)) append(&found->missing, "%.100s", name);
        return;
    }
    const bool read = io_safetensors_raw_tensor(file, name, raw, NULL);
    const bool type = scales ? raw->type == IO_SAFETENSORS_F32 : readable(raw->type);
    if ((read && type && has_shape(raw, rows, columns)) || !show(list)) return;
    describe_difference(list, name, raw, read, type,
                        scales ? "F32 " : "F32, F64, F16, BF16 or I8 ");
    if (rows == 1) append(list, "[%" PRId64 "]", columns);
    else append(list, "[%" PRId64 ", %" PRId64 "]", rows, columns);
}

static void check_parameter(const io_safetensors *file, const model_names *names,
                            const attn_nn_parameter *p, json_t *known, report *found) {
    const file_name name = name_in_file(names, p, ""), scale = name_in_file(names, p, ".scale");
    io_safetensors_raw raw = {0}, unused;
    check_tensor(file, name.text, p->rows, p->columns, false, &raw, found);
    (void)json_object_set_new(known, name.text, json_true());
    if (raw.type != IO_SAFETENSORS_I8) return;
    check_tensor(file, scale.text, 1, p->rows, true, &unused, found);
    (void)json_object_set_new(known, scale.text, json_true());
}

bool model_parameters_check(const io_safetensors *file, const model_names *names,
                            const char *const *also, const attn_nn_layout *layout,
                            io_error *error) {
    report found = {0};
    json_t *const known = json_object(); /* names that belong to something */
    if (!known) return io_fail(error, "%s: out of memory", file->path);
    for (int64_t i = 0; i < layout->count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        if (chosen(names, p)) check_parameter(file, names, p, known, &found);
    }
    for (; also && *also; also++) (void)json_object_set_new(known, *also, json_true());
    for (const char *name = io_safetensors_next(file, NULL); name;
         name = io_safetensors_next(file, name)) {
        if (!fits(names, name) || json_object_get(known, name)) continue;
        if (show(&found.unexpected)) append(&found.unexpected, "%.100s", name);
    }
    json_decref(known);
    return verdict(&found, file->path, error);
}

/* --- Elements --------------------------------------------------------------------------------------- */

/* Element k of the tensor, which may lie at any address. */
static double element(const io_safetensors_raw *raw, int64_t k) {
    double f64 = 0;
    float f32 = 0;
    uint16_t u16 = 0;
    uint32_t u32 = 0;
    int8_t i8 = 0;
    switch (raw->type) {
    case IO_SAFETENSORS_F64: memcpy(&f64, raw->bytes + 8 * k, 8); return f64;
    case IO_SAFETENSORS_F32: memcpy(&f32, raw->bytes + 4 * k, 4); return (double)f32;
    case IO_SAFETENSORS_F16:
        memcpy(&u16, raw->bytes + 2 * k, 2);
        return (double)model_float_from_half(u16);
    case IO_SAFETENSORS_BF16: /* the upper half of a binary32 */
        memcpy(&u16, raw->bytes + 2 * k, 2);
        u32 = (uint32_t)u16 << 16;
        memcpy(&f32, &u32, 4);
        return (double)f32;
    case IO_SAFETENSORS_I8: memcpy(&i8, raw->bytes + k, 1); return i8;
    default: return 0;
    }
}

static bool read_parameter(const io_safetensors *file, const model_names *names,
                           const attn_nn_parameter *p, attn_nn_real *values, io_error *error) {
    const file_name name = name_in_file(names, p, ""),
                    scale_name = name_in_file(names, p, ".scale");
    io_safetensors_raw raw, scales = {0};
    if (!io_safetensors_raw_tensor(file, name.text, &raw, error)) return false;
    if (raw.type == IO_SAFETENSORS_I8 &&
        !io_safetensors_raw_tensor(file, scale_name.text, &scales, error)) {
        return false;
    }
    for (int64_t k = 0; k < p->rows * p->columns; k++) {
        /* The product of 8 and 24 bits is exact in double, and is rounded once. */
        const double scale = scales.bytes ? element(&scales, k / p->columns) : 1;
        const attn_nn_real x = (attn_nn_real)(element(&raw, k) * scale);
        if (!isfinite(x)) {
            return io_fail(error,
                           "%s: %s [%" PRId64 ", %" PRId64 "] is %g: expected a finite number",
                           file->path, name.text, k / p->columns, k % p->columns, (double)x);
        }
        values[p->offset + k] = x;
    }
    return true;
}

bool model_parameters_read(const io_safetensors *file, const model_names *names,
                           const attn_nn_layout *layout, attn_nn_real *values, io_error *error) {
    for (int64_t i = 0; i < layout->count; i++) {
        const attn_nn_parameter *const p = &layout->parameters[i];
        if (chosen(names, p) && !read_parameter(file, names, p, values, error)) return false;
    }
    return true;
}

/* --- Any file's parameters --------------------------------------------------------------------------- */

static bool load(const io_safetensors *file, const model_names *names, const attn_nn_layout *layout,
                 attn_nn_real *values, io_error *error) {
    if (!model_parameters_check(file, names, NULL, layout, error)) return false;
    const size_t size = (size_t)layout->size * sizeof *values;
    attn_nn_real *const read = malloc(size + 1);
    if (!read) return io_fail(error, "%s: out of memory", file->path);
    if (size) memcpy(read, values, size);
    const bool good = model_parameters_read(file, names, layout, read, error);
    if (good && size) memcpy(values, read, size);
    free(read);
    return good;
}

bool model_load_parameters(const char *path, const model_names *names, const attn_nn_layout *layout,
                           attn_nn_real *values, io_error *error) {
    static const model_names plain = {0};
    io_safetensors file;
    if (!io_safetensors_open(&file, path, error)) return false;
    const bool good = load(&file, names ? names : &plain, layout, values, error);
    io_safetensors_close(&file);
    return good;
}
