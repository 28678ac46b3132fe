/* internal.h: what saving and loading consist of, for those who do it by halves. */
#ifndef MODEL_INTERNAL_H
#define MODEL_INTERNAL_H

#include "model_file.h"
#include "target.h"

/* Opens the target for path and writes all of a model file. On success end it with io_targets_commit
 * or io_target_discard. */
bool model_file_write(io_target *target, const char *path, const model_file *file,
                      model_precision precision, io_error *error);

/* model_state_load, of a file of any name. */
bool model_state_read(const char *state_path, const attn_nn_model *model, model_state *state,
                      io_error *error);

#endif
