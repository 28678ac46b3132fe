/* attn train: a model that translates, from pairs of sentences. */
#include "cli.h"
#include "options.h"
#include "train_config.h"
#include "train_watch.h"

#include "../io/picture.h"

#include "config.h"
#include "training.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct train_settings {
    training_options training;
    const char *model; /* a preset's name; NULL: the file's, or the first */
    const char *pictures;
    const char *set[32];
    int set_count;
    int64_t warm_up, threads, seed, log_every;
} train_settings;

/* --- Presets --------------------------------------------------------------------------------------- */

typedef struct preset {
    const char *name;
    attn_nn_config config;
} preset;

/* Of about equal size: 7 to 8 million parameters with 8000 subwords. */
static const preset presets[] = {
    {"transformer",
     {.family = ATTN_NN_TRANSFORMER,
      .width = 256,
      .encoder_layers = 3,
      .decoder_layers = 3,
      .heads = 4,
      .dropout = 0.1,
      .attention_dropout = 0.1,
      .align_heads = 1,
      .align_after = true}},
    {"lstm",
     {.family = ATTN_NN_RECURRENT,
      .width = 256,
      .hidden = 512,
      .encoder_layers = 2,
      .decoder_layers = 1,
      .look = ATTN_NN_LOOK_ADDITIVE,
      .dropout = 0.2}},
    {"lstm-dot",
     {.family = ATTN_NN_RECURRENT,
      .width = 256,
      .hidden = 512,
      .encoder_layers = 2,
      .decoder_layers = 1,
      .look = ATTN_NN_LOOK_DOT,
      .dropout = 0.2}},
    {"lstm-none",
     {.family = ATTN_NN_RECURRENT,
      .width = 256,
      .hidden = 512,
      .encoder_layers = 2,
      .decoder_layers = 1,
      .look = ATTN_NN_LOOK_NONE,
      .dropout = 0.2}},
};
enum { PRESETS = sizeof presets / sizeof presets[0] };

/* --- Options --------------------------------------------------------------------------------------- */

static bool add_data(void *field, const char *text, io_error *error) {
    training_options *const o = field;
    if (o->data_count == TRAINING_FILES_MAX) {
        return io_fail(error, "expected at most %d files", TRAINING_FILES_MAX);
    }
    return cli_text(&o->data[o->data_count++], text, error);
}

static bool add_set(void *field, const char *text, io_error *error) {
    train_settings *const s = field;
    if (s->set_count == 32) return io_fail(error, "expected at most 32 of them");
    s->set[s->set_count++] = text;
    return true;
}

static bool read_precision(void *field, const char *text, io_error *error) {
    static const char *const names[] = {"f32", "f16", "i8"};
    int choice = 0;
    if (!cli_word(names, 3, sizeof names[0], text, &choice, error)) return false;
    *(model_precision *)field = (model_precision)choice;
    return true;
}

static bool read_schedule(void *field, const char *text, io_error *error) {
    const char *const *const names = training_schedule_names;
    int choice = 0;
    if (!cli_word(names, 4, sizeof names[0], text, &choice, error)) return false;
    *(attn_nn_schedule_kind *)field = (attn_nn_schedule_kind)choice;
    return true;
}

#define AT(field) offsetof(train_settings, field)

static const cli_option text_options[] = {
    {"data", "FILE",
     "pairs to train on: source, tab, target a line, plain or\n"
     "gzip; may be given several times",
     add_data, AT(training)},
    {"dev", "FILE", "pairs to judge by, not to train on", cli_text, AT(training.dev)},
    {"guide", "FILE",
     "word alignments, a line of links i-j for each pair of\n"
     "--data, which the weights are taught",
     cli_text, AT(training.guides)},
    {"vocabulary", "N", "subwords; fewer if there is little text (8000)", cli_size,
     AT(training.config.vocabulary)},
    {"max-length", "N", "leave out pairs with more subwords on a side (100)", cli_count,
     AT(training.batches.max_length)},
    {0},
};

static const cli_option model_options[] = {
    {"model", "NAME",
     "transformer, lstm (additive attention), lstm-dot or lstm-none\n"
     "(transformer)",
     cli_text, AT(model)},
    {"set", "FIELD=VALUE",
     "change a field of the model, as in width=384; may be given\n"
     "several times",
     add_set, 0},
    {0},
};

static const cli_option training_options_of[] = {
    {"epochs", "N", "times through the data (20)", cli_size, AT(training.epochs)},
    {"steps", "N", "how many steps, whatever the epochs", cli_size, AT(training.steps)},
    {"tokens", "N", "subwords in a batch, both sides (8192)", cli_size,
     AT(training.batches.tokens)},
    {"shards", "N", "parts of a batch, side by side; bits depend on it (4)", cli_size,
     AT(training.batches.shards)},
    {"rate", "R", "the highest learning rate (0.001)", cli_cap, AT(training.trainer.schedule.peak)},
    {"warm-up", "N", "steps until then (1000, or a tenth of all if less)", cli_count, AT(warm_up)},
    {"schedule", "NAME", "constant, inverse-root, linear or cosine (cosine)", read_schedule,
     AT(training.trainer.schedule.kind)},
    {"smoothing", "S", "of labels (0.1)", cli_share, AT(training.trainer.objective.smoothing)},
    {"guide-weight", "W", "how much --guide counts (0.1)", cli_cap,
     AT(training.trainer.objective.guide)},
    {"coverage-weight", "W",
     "how much looking again at the same words costs, of models with\n"
     "coverage=true (0)",
     cli_cap, AT(training.trainer.objective.coverage)},
    {"clip", "L", "the longest gradient (1)", cli_cap, AT(training.trainer.clip)},
    {"average", "K", "how much of the moving average each step keeps (0.999)", cli_share,
     AT(training.trainer.average_keep)},
    {"decay", "D", "of weights (0)", cli_share, AT(training.trainer.adam.decay)},
    {"seed", "N", "of all that is random (1)", cli_count, AT(seed)},
    {"threads", "N", "how many threads (0: OMP_NUM_THREADS or all)", cli_count, AT(threads)},
    {0},
};

static const cli_option result_options[] = {
    {"output", "FILE",
     "the model, NAME.safetensors; NAME.state.safetensors is for\n"
     "--resume; -o is short for it",
     cli_text, AT(training.output)},
    {"precision", "TYPE", "of matrices in the file: f32, f16 or i8 (f16)", read_precision,
     AT(training.precision)},
    {"resume", NULL, "go on where the state beside --output stopped", cli_flag,
     AT(training.resume)},
    {"save-every", "N", "steps (500)", cli_size, AT(training.save_every)},
    {"dev-every", "N", "steps (1000)", cli_size, AT(training.dev_every)},
    {"dev-sentences", "N", "that are translated for BLEU (0: all)", cli_count,
     AT(training.dev_sentences)},
    {"pictures", "FOLDER",
     "at each evaluation, PNGs of where the model looks in three\n"
     "pairs of --dev",
     cli_text, AT(pictures)},
    {"log-every", "N", "steps, where standard error is no terminal (100)", cli_size, AT(log_every)},
    {0},
};

static const cli_group groups[] = {{"text", text_options, 0},
                                   {"model", model_options, 0},
                                   {"training", training_options_of, 0},
                                   {"result", result_options, 0},
                                   {0}};

static const cli_usage usage = {
    "attn train", "attn train [CONFIG] --data FILE --output FILE [OPTION]...",
    "Trains a model that translates, and saves it every now and then. CONFIG is a JSON file of options;\n"
    "those of the command line win. An interruption (Ctrl-C) saves too; --resume then goes on to the\n"
    "same bits.",
    groups, 1};

static const train_settings defaults = {
    .training = {.config = {.vocabulary = 8000},
                 .batches = {.max_length = 100, .tokens = 8192, .shards = 4},
                 .trainer = {.schedule = {.kind = ATTN_NN_COSINE, .peak = 1e-3},
                             .objective = {.smoothing = 0.1, .guide = 0.1},
                             .clip = 1,
                             .average_keep = 0.999},
                 .precision = MODEL_F16,
                 .epochs = 20,
                 .save_every = 500,
                 .dev_every = 1000},
    .warm_up = -1,
    .seed = 1,
    .log_every = 100,
};

/* --- The model ------------------------------------------------------------------------------------- */

static bool choose_preset(attn_nn_config *config, const char *name, io_error *error) {
    int choice = 0;
    io_error reason;
    if (!cli_word(&presets[0].name, PRESETS, sizeof presets[0], name, &choice, &reason)) {
        return io_fail(error, "--model %.60s: %s", name, reason.text);
    }
    const int64_t vocabulary = config->vocabulary;
    *config = presets[choice].config;
    config->vocabulary = vocabulary;
    return true;
}

/* The object under "model" in the file: a preset's "name", and fields that change it. */
static bool change_model(attn_nn_config *config, const json_t *object, const char *path,
                         io_error *error) {
    char where[300];
    (void)snprintf(where, sizeof where, "%.200s: model", path);
    json_t *const fields = json_copy((json_t *)(uintptr_t)object);
    if (fields == NULL) return io_fail(error, "out of memory");
    (void)json_object_del(fields, "name");
    const bool good = model_config_update(config, fields, where, error);
    json_decref(fields);
    return good;
}

/* What the file says of the preset that it names, and over it --set. */
static bool change_preset(train_settings *s, const json_t *object, const char *path,
                          io_error *error) {
    attn_nn_config *const config = &s->training.config;
    if (!s->model && object && !change_model(config, object, path, error)) return false;
    for (int i = 0; i < s->set_count; i++) {
        if (!model_config_set(config, s->set[i], error)) return false;
    }
    return true;
}

static bool choose_model(train_settings *s, const json_t *object, const char *path,
                         io_error *error) {
    attn_nn_config *const config = &s->training.config;
    const json_t *const named = json_object_get(object, "name");
    const char *const name = s->model ? s->model : named ? json_string_value(named) : "transformer";
    if (!name) return io_fail(error, "%s: model: its name is no string", path);
    if (!choose_preset(config, name, error)) return false;
    attn_nn_config start = *config;
    if (!change_preset(s, object, path, error)) return false;
    if (config->family == ATTN_NN_TRANSFORMER && !config->copy) return true;
    /* These look before they say a word; whoever asks them to look after it is refused. */
    start.align_after = false;
    *config = start;
    return change_preset(s, object, path, error);
}

/* --- All settings ---------------------------------------------------------------------------------- */

/* What the file says, and over it the command line, which was read once to find the file. */
static bool read_config(train_settings *s, train_config *config, const char *path, int argc,
                        char **argv, io_error *error) {
    const bool more_data = s->training.data_count > 0;
    const char *except[3] = {0};
    int count = 0;
    if (more_data) except[count++] = "data";
    if (s->model) except[count++] = "model";
    train_settings all = defaults;
    if (!train_config_read(config, path, error) ||
        !train_config_apply(config, path, &usage, except, &all, error)) {
        return false;
    }
    *s = all;
    return cli_parse(&usage, argc, argv, s, error) == CLI_PARSED;
}

enum { VOCABULARY_MOST = 1000000, THREADS_MOST = 4096, SHARDS_MOST = 4096 };

static bool check(const train_settings *s, io_error *error) {
    const training_options *const o = &s->training;
    const attn_nn_config *const config = &o->config;
    if (o->data_count == 0) return io_fail(error, "--data is missing: expected a file of pairs");
    if (!o->output) return io_fail(error, "--output is missing: expected a file to write");
    if (config->vocabulary > VOCABULARY_MOST) {
        return io_fail(error, "--vocabulary %lld: expected at most %d",
                       (long long)config->vocabulary, VOCABULARY_MOST);
    }
    if (o->batches.shards > SHARDS_MOST) {
        return io_fail(error, "--shards %lld: expected at most %d", (long long)o->batches.shards,
                       SHARDS_MOST);
    }
    const bool looks = config->family == ATTN_NN_TRANSFORMER || config->look != ATTN_NN_LOOK_NONE;
    if (o->guides && !looks) return io_fail(error, "--guide: the model has no attention");
    if (!s->pictures) return true;
    if (!o->dev) return io_fail(error, "--pictures needs --dev: expected a file of pairs");
    if (!looks) return io_fail(error, "--pictures: the model has no attention");
    return io_picture_available() ||
           io_fail(error, "--pictures: this build has no cairo to draw with");
}

static bool finish(train_settings *s, const train_config *config, const char *path,
                   io_error *error) {
    training_options *const o = &s->training;
    o->trainer.threads = (int)(s->threads < THREADS_MOST ? s->threads : THREADS_MOST);
    o->trainer.seed = (uint64_t)s->seed;
    o->trainer.schedule.warm_up = s->warm_up;
    if (!o->guides) o->trainer.objective.guide = 0;
    return choose_model(s, train_config_model(config), path, error) && check(s, error);
}

static bool run(const train_settings *s, io_error *error) {
    train_watch watch;
    if (!train_watch_open(&watch, s->log_every, s->pictures, s->training.dev, error)) return false;
    const training_watcher watcher = train_watch_calls(&watch);
    const bool good = train(&s->training, &watcher, error);
    const int number = train_watch_close(&watch);
    if (!good || number == 0) return good;
    fprintf(stderr, "interrupted; attn train ... --resume goes on from here\n");
    cli_set_status(128 + number); /* as shells count */
    return true;
}

bool cli_train(int argc, char **argv, io_error *error) {
    train_settings settings = defaults;
    train_config config = {0};
    const cli_parsed parsed = cli_parse(&usage, argc, argv, &settings, error);
    if (parsed != CLI_PARSED) return parsed == CLI_HELP_SHOWN;
    const char *const path = cli_operand(argc, argv, 0);
    const bool good = (!path || read_config(&settings, &config, path, argc, argv, error)) &&
                      finish(&settings, &config, path, error) && run(&settings, error);
    train_config_free(&config);
    return good;
}
