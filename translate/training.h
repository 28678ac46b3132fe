/* training.h: from pairs of sentences to a model in a file. */
#ifndef TRANSLATE_TRAINING_H
#define TRANSLATE_TRAINING_H

#include "error.h"
#include "model_file.h"

#include <attn/nn.h>

enum { TRAINING_FILES_MAX = 16, TRAINING_WARM_UP = 1000 };

extern const char *const training_schedule_names[]; /* by attn_nn_schedule_kind */

typedef struct training_options {
    const char *data[TRAINING_FILES_MAX]; /* files of pairs */
    int64_t data_count;
    const char *guides; /* Pharaoh links, a line for each pair of data; NULL: none */
    const char *dev;    /* pairs that are not trained on; NULL: none */
    const char *output; /* the model, NAME.safetensors; the state lies beside it */
    model_precision precision;
    bool resume; /* go on from the state beside `output` */

    attn_nn_config config; /* config.vocabulary: how many subwords; fewer for little text */
    attn_nn_trainer_options
        trainer; /* schedule.steps 0: as many as there will be; schedule.warm_up -1:
                                      * TRAINING_WARM_UP, or a tenth of the steps if that is less */
    attn_nn_batches_options batches; /* begin and end are set here; seed is the trainer's */
    int64_t steps;                   /* how many; 0: by epochs */
    int64_t epochs;

    int64_t save_every, dev_every; /* steps; 0: only at the end */
    int64_t dev_sentences;         /* that are translated for BLEU; 0: all */
} training_options;

/* Where a training stands. */
typedef struct training_progress {
    int64_t step, steps, epoch;
    attn_nn_step_report report;
    int64_t tokens; /* target rows trained on by this process */
    double seconds; /* that this took, evaluations left out */
    size_t bytes;   /* the trainer's memory */
} training_progress;

typedef struct training_evaluation {
    int64_t step;
    attn_nn_loss loss;                   /* per row: loss.likelihood / loss.rows */
    double bleu, chrf;                   /* greedy */
    const struct translator *translator; /* what was evaluated, */
    const attn_nn_real *values;          /* with these values */
} training_evaluation;

/* Who watches. stepped returns false to end the training: it is then saved. evaluating is called, on any
 * thread, as sentences of `dev` are translated, and returns false to give the evaluation up. NULL:
 * nobody. */
typedef struct training_watcher {
    void *user;
    void (*began)(void *user, int64_t pairs, int64_t parameters, int64_t vocabulary, int64_t steps);
    bool (*stepped)(void *user, const training_progress *progress);
    bool (*evaluating)(void *user, int64_t done, int64_t all);
    bool (*evaluated)(void *user, const training_evaluation *evaluation, io_error *error);
    void (*saved)(void *user, int64_t step);
} training_watcher;

/* Trains. The model file has the moving average of the values, if one is made. That `output` and what lies
 * beside it can be written is found out before anything else. Resuming refuses another model, other data
 * and whatever else would lead to other bits. */
bool train(const training_options *options, const training_watcher *watcher, io_error *error);

#endif
