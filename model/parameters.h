/* parameters.h: a layout's parameters to tensors of a file, and back. */
#ifndef MODEL_PARAMETERS_H
#define MODEL_PARAMETERS_H

#include "model_file.h"
#include "safetensors_write.h"

/* Tensors that describe parameters where they lie; what must be made of them (halves, 8 bits) is made
 * as they are written. */
typedef struct model_tensors {
    io_safetensors_tensor *tensors; /* [count], and room for MODEL_MORE_TENSORS of the caller's */
    size_t count;
    void *names, *matrices; /* what tensors point to */
    float *scales;
} model_tensors;
enum { MODEL_MORE_TENSORS = 4 };

/* Refuses values that are not finite, or that the precision cannot hold. `path` is for sentences. On
 * success free it; values must live as long. */
bool model_tensors_make(model_tensors *made, const attn_nn_layout *layout,
                        const attn_nn_real *values, model_precision precision, const char *path,
                        io_error *error);
void model_tensors_free(model_tensors *made);

/* Whether the file has each parameter that `names` chooses, of its shape, and no tensor else whose name
 * fits, but those in `also` (ends with NULL; NULL: none). */
bool model_parameters_check(const io_safetensors *file, const model_names *names,
                            const char *const *also, const attn_nn_layout *layout, io_error *error);

/* After that: reads them into values [layout->size]. */
bool model_parameters_read(const io_safetensors *file, const model_names *names,
                           const attn_nn_layout *layout, attn_nn_real *values, io_error *error);

#endif
