#include "train_watch.h"

#include "translate_show.h"

#include "../io/target.h"

#include "aligner.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* --- Signals --------------------------------------------------------------------------------------- */

static const int watched[] = {SIGINT, SIGTERM, SIGHUP};
enum { WATCHED = sizeof watched / sizeof watched[0] };

static volatile sig_atomic_t interrupted; /* by this signal */
static struct sigaction before[WATCHED];
static bool watching;

/* The first one asks. After a second the handler that was there before removes what is half written. */
static void interrupt(int number) {
    if (!interrupted) {
        interrupted = number;
        return;
    }
    for (int i = 0; i < WATCHED; i++) {
        if (watched[i] == number) (void)sigaction(number, &before[i], NULL);
    }
    (void)raise(number); /* blocked while its handler runs, so this takes effect on return */
}

static void watch_signals(void) {
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    watching = true;
    for (int i = 0; i < WATCHED; i++) {
        (void)sigaction(watched[i], NULL, &before[i]);
        /* What nohup ignores stays ignored. */
        if (before[i].sa_handler != SIG_IGN) (void)sigaction(watched[i], &action, NULL);
    }
}

static void leave_signals(void) {
    for (int i = 0; watching && i < WATCHED; i++) (void)sigaction(watched[i], &before[i], NULL);
    watching = false;
}

/* --- Pictures -------------------------------------------------------------------------------------- */

/* Words of a pair of medium length, on either side: enough to see, and to read. */
enum { WORDS_LEAST = 6, WORDS_MOST = 14 };

static bool is_medium(const char *sentence) {
    const int64_t words = text_word_count(sentence);
    return words >= WORDS_LEAST && words <= WORDS_MOST;
}

/* The first pairs of medium length; where there are too few, the first of the others. */
static void choose(train_watch *w) {
    for (int medium = 1; medium >= 0; medium--) {
        for (int64_t i = 0; i < w->pairs.count && w->shown_count < TRAIN_PICTURES; i++) {
            const bool is = is_medium(translate_pairs_source(&w->pairs, i)) &&
                            is_medium(translate_pairs_target(&w->pairs, i));
            if (is == (medium == 1)) w->shown[w->shown_count++] = i;
        }
    }
}

static bool picture_path(const train_watch *w, int64_t i, int64_t step, char *path, size_t size,
                         io_error *error) {
    const int length = snprintf(path, size, "%s/pair-%lld-step-%07lld.png", w->pictures,
                                (long long)i + 1, (long long)step);
    return (length > 0 && (size_t)length < size) ||
           io_fail(error, "--pictures: the folder's name is too long");
}

enum { PATH_SIZE = 4096 };

static bool open_pictures(train_watch *w, const char *dev, io_error *error) {
    char path[PATH_SIZE];
    io_target target = {0};
    if (!picture_path(w, 0, 0, path, sizeof path, error) || !io_target_open(&target, path, error)) {
        return false;
    }
    io_target_discard(&target);
    if (!translate_pairs_read(&w->pairs, &dev, 1, error)) return false;
    choose(w);
    return true;
}

/* Where the model looks while it is told what to say: the words stay the same from picture to picture,
 * however little it can say by itself. */
static bool draw(const train_watch *w, int64_t i, const training_evaluation *e, io_error *error) {
    char path[PATH_SIZE], title[64];
    const align_options options = align_defaults();
    translation_grid grid;
    const char *const source = translate_pairs_source(&w->pairs, w->shown[i]);
    const char *const target = translate_pairs_target(&w->pairs, w->shown[i]);
    if (!picture_path(w, i, e->step, path, sizeof path, error) ||
        !align_weights(e->translator, e->values, source, target, &options, &grid, error)) {
        return false;
    }
    (void)snprintf(title, sizeof title, "step %lld", (long long)e->step);
    const bool good = translate_picture(&grid, title, path, error);
    translation_grid_free(&grid);
    return good;
}

/* --- Calls ----------------------------------------------------------------------------------------- */

static void began(void *user, int64_t pairs, int64_t parameters, int64_t vocabulary,
                  int64_t steps) {
    train_watch *const w = user;
    fprintf(stderr, "%lld pairs, %lld subwords, %.2f million parameters, %lld steps\n",
            (long long)pairs, (long long)vocabulary, (double)parameters * 1e-6, (long long)steps);
    watch_signals();
    cli_progress_open(&w->progress, "training", w->log_every);
}

static bool stepped(void *user, const training_progress *p) {
    train_watch *const w = user;
    const double loss = p->report.loss.likelihood / (double)p->report.loss.rows;
    if (w->begun == 0) w->begun = p->step;
    const int64_t done = p->step - w->begun + 1;
    const double keep = done < 50 ? 1 - 1 / (double)done : 0.98;
    w->loss = keep * w->loss + (1 - keep) * loss;
    char text[160];
    (void)snprintf(text, sizeof text, "loss %.3f  %.0f tokens/s  epoch %lld  perplexity %.2f",
                   w->loss, (double)p->tokens / p->seconds, (long long)p->epoch + 1, exp(w->loss));
    cli_progress_show(&w->progress, p->step, p->steps, text);
    return !interrupted;
}

static bool evaluating(void *user, int64_t done, int64_t all) {
    train_watch *const w = user;
    char text[64];
    if (w->progress.terminal) {
        (void)snprintf(text, sizeof text, "evaluating: %lld of %lld sentences", (long long)done,
                       (long long)all);
        cli_progress_note(&w->progress, text);
    }
    return !interrupted;
}

static bool evaluated(void *user, const training_evaluation *e, io_error *error) {
    train_watch *const w = user;
    cli_progress_clear(&w->progress);
    const double loss = e->loss.likelihood / (double)e->loss.rows;
    printf("step %lld  dev loss %.4f  perplexity %.3f  BLEU %.2f  chrF %.2f (greedy)\n",
           (long long)e->step, loss, exp(loss), e->bleu, e->chrf);
    (void)fflush(stdout);
    for (int64_t i = 0; w->pictures && i < w->shown_count; i++) {
        if (!draw(w, i, e, error)) return false;
    }
    return true;
}

training_watcher train_watch_calls(train_watch *watch) {
    return (training_watcher){.user = watch,
                              .began = began,
                              .stepped = stepped,
                              .evaluating = evaluating,
                              .evaluated = evaluated};
}

bool train_watch_open(train_watch *watch, int64_t log_every, const char *pictures, const char *dev,
                      io_error *error) {
    *watch = (train_watch){.log_every = log_every, .pictures = pictures};
    return !pictures || open_pictures(watch, dev, error);
}

int train_watch_close(train_watch *watch) {
    leave_signals();
    cli_progress_clear(&watch->progress);
    translate_pairs_free(&watch->pairs);
    return interrupted;
}
