#include "progress.h"

#include "meter.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double redraw_seconds = 0.2;
enum { BAR = 24, BAR_LEAST = 10, BAR_COLUMNS = 60, NARROW = 80 };

void cli_progress_open(cli_progress *p, const char *what, int64_t line_every) {
    *p = (cli_progress){.what = what, .line_every = line_every, .first = -1};
    p->terminal = isatty(STDERR_FILENO);
    p->began = cli_seconds();
}

/* Asked for each time: windows change. */
static int window_columns(void) {
    struct winsize size = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : NARROW;
}

/* "1:02:03", "4:05". */
static void time_left(char *text, size_t size, double seconds) {
    const long long s = seconds > 0 ? (long long)(seconds + 0.5) : 0;
    if (s >= 3600) {
        (void)snprintf(text, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    } else {
        (void)snprintf(text, size, "%lld:%02lld", s / 60, s % 60);
    }
}

/* Cuts a line to fewer than `columns`, where words part: half a number would be another number. */
static void cut(char *line, int columns) {
    size_t end = strlen(line);
    while (end >= (size_t)columns) {
        line[end] = 0;
        const char *const gap = strrchr(line, ' ');
        end = gap && gap > line ? (size_t)(gap - line) : (size_t)columns - 1;
        line[end] = 0;
    }
}

/* "training [####....] 10/80  0:42 left  loss ..." */
static void draw(const char *what, int64_t done, int64_t all, const char *left, const char *text) {
    char rest[320], line[512], bar[BAR + 4] = "";
    const int columns = window_columns();
    const int length = snprintf(rest, sizeof rest, " %lld/%lld  %s left  %s", (long long)done,
                                (long long)all, left, text);
    const int room = columns - 1 - (int)strlen(what) - length - 3;
    const int width = room > BAR ? BAR : room < BAR_LEAST ? BAR_LEAST : room;
    if (columns >= BAR_COLUMNS) {
        bar[0] = ' ', bar[1] = '[', bar[width + 2] = ']', bar[width + 3] = 0;
        for (int i = 0; i < width; i++) bar[i + 2] = (int64_t)i * all < done * width ? '#' : '.';
    }
    (void)snprintf(line, sizeof line, "%s%s%s", what, bar, rest);
    cut(line, columns);
    fprintf(stderr, "\r\033[K%s", line);
    (void)fflush(stderr);
}

void cli_progress_show(cli_progress *p, int64_t done, int64_t all, const char *text) {
    const double now = cli_seconds();
    if (p->first < 0) p->first = done - 1;
    if (p->terminal && now - p->shown < redraw_seconds && done != all) return;
    const bool line = p->line_every > 0 && (done % p->line_every == 0 || done == all);
    if (!p->terminal && !line) return;
    const double rate = (double)(done - p->first) / (now - p->began);
    char left[32];
    time_left(left, sizeof left, rate > 0 ? (double)(all - done) / rate : 0);
    if (p->terminal) {
        draw(p->what, done, all, left, text);
        p->shown = now, p->drawn = true;
        return;
    }
    fprintf(stderr, "%s %lld/%lld  %s left  %s\n", p->what, (long long)done, (long long)all, left,
            text);
}

void cli_progress_note(cli_progress *p, const char *text) {
    const double now = cli_seconds();
    if (!p->terminal || now - p->shown < redraw_seconds) return;
    fprintf(stderr, "\r\033[K%.*s", window_columns() - 1, text);
    (void)fflush(stderr);
    p->shown = now, p->drawn = true;
}

void cli_progress_clear(cli_progress *p) {
    if (p->drawn) fprintf(stderr, "\r\033[K");
    p->drawn = false;
}
