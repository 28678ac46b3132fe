/* train_watch.h: what a training shows while it runs, and how it is interrupted. */
#ifndef CLI_TRAIN_WATCH_H
#define CLI_TRAIN_WATCH_H

#include "progress.h"

#include "corpus.h"
#include "training.h"

enum { TRAIN_PICTURES = 3 };

typedef struct train_watch {
    cli_progress progress;
    int64_t log_every;
    double loss;   /* of late: a moving mean */
    int64_t begun; /* the first step of this run */

    const char *pictures; /* a folder; NULL: none */
    translate_pairs pairs;
    int64_t shown[TRAIN_PICTURES], shown_count; /* of the pairs, those that are drawn */
} train_watch;

/* pictures: NULL: none; else a folder that must take files, and dev has the pairs for them. */
bool train_watch_open(train_watch *watch, int64_t log_every, const char *pictures, const char *dev,
                      io_error *error);

/* While the training runs, SIGINT, SIGTERM and SIGHUP end it at the next step, saved; a second one ends
 * the process as it does elsewhere. */
training_watcher train_watch_calls(train_watch *watch);

/* Returns the number of the signal that came; 0: none. */
int train_watch_close(train_watch *watch);

#endif
