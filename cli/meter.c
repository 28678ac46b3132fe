#define _GNU_SOURCE
#include "meter.h"

#include "machine.h"
#include "peak.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The peak is read this long after other threads' work ended: OpenMP's threads, waiting for more,
 * keep their cores busy for some milliseconds. */
static const struct timespec settle = {.tv_nsec = 10000000};
static const double peak_seconds = 0.010;
static const size_t buffer_least = (size_t)256 << 20;
static const size_t buffer_most = (size_t)1 << 30;
enum { THREADS_MAX = 4096, ALIGNMENT = 64 };

typedef uint64_t words __attribute__((vector_size(ALIGNMENT)));

struct cli_meter {
    int threads;
    cli_peak_loop *loop;
    words *buffer;
    size_t buffer_words; /* vectors, not bytes */
};

/* What one thread does, and what it found: units of work a second. */
typedef struct worker {
    const cli_meter *meter;
    const atomic_int *signal;
    double (*work)(const cli_meter *meter, int index, volatile double *sink);
    int index;
    double rate;
    volatile double sink;
} worker;

double cli_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Repeats the peak loop for some time; operations a second. */
static double measure_peak(const cli_meter *meter, int index, volatile double *sink) {
    double operations = 0, seconds = 0;
    const double start = cli_seconds();
    (void)index;
    do {
        operations += meter->loop(sink);
        seconds = cli_seconds() - start;
    } while (seconds < peak_seconds);
    return operations / seconds;
}

/* The thread's share of the buffer. */
static const words *share(const cli_meter *meter, int index, size_t *count) {
    const size_t first = meter->buffer_words * (size_t)index / (size_t)meter->threads;
    const size_t end = meter->buffer_words * ((size_t)index + 1) / (size_t)meter->threads;
    *count = end - first;
    return meter->buffer + first;
}

/* Adds up the thread's share of the buffer; bytes a second. */
static double measure_bandwidth(const cli_meter *meter, int index, volatile double *sink) {
    enum { STREAMS = 4 };
    size_t count = 0;
    const words *const data = share(meter, index, &count);
    const double start = cli_seconds();
    words sum[STREAMS] = {{0}};
    for (size_t i = 0; i + STREAMS <= count; i += STREAMS) {
        for (int s = 0; s < STREAMS; s++) sum[s] += data[i + (size_t)s];
    }
    for (int s = 1; s < STREAMS; s++) sum[0] += sum[s];
    *sink = (double)sum[0][0];
    return (double)(count * sizeof(words)) / (cli_seconds() - start);
}

/* Memory is handed out when first written: each thread touches its own share. */
static double fill(const cli_meter *meter, int index, volatile double *sink) {
    size_t count = 0;
    const words *const data = share(meter, index, &count);
    memset((void *)(uintptr_t)data, 1, count * sizeof(words));
    return *sink = 0;
}

enum { WAIT, GO, LEAVE }; /* the signal to the workers */

static void *run_worker(void *argument) {
    worker *const w = argument;
    int signal = WAIT;
    while ((signal = atomic_load(w->signal)) == WAIT) (void)sched_yield();
    if (signal == GO) w->rate = w->work(w->meter, w->index, &w->sink);
    return NULL;
}

/* Starts all threads at once and adds their rates up. */
static bool run_workers(worker *workers, pthread_t *threads, int count, double *rate,
                        io_error *error) {
    atomic_int signal = WAIT;
    int running = 1;
    for (int i = 0; i < count; i++) workers[i].signal = &signal;
    while (running < count &&
           !pthread_create(&threads[running], NULL, run_worker, &workers[running])) {
        running++;
    }
    atomic_store(&signal, running == count ? GO : LEAVE);
    (void)run_worker(&workers[0]);
    *rate = workers[0].rate;
    for (int i = 1; i < running; i++) {
        (void)pthread_join(threads[i], NULL);
        *rate += workers[i].rate;
    }
    if (running == count) return true;
    return io_fail(error, "cannot start thread %d of %d", running + 1, count);
}

static bool on_all_threads(const cli_meter *meter,
                           double (*work)(const cli_meter *, int, volatile double *), double *rate,
                           io_error *error) {
    if (meter->threads < 1) return io_fail(error, "there is no thread to measure with");
    worker *const workers = calloc((size_t)meter->threads, sizeof *workers);
    pthread_t *const threads = calloc((size_t)meter->threads, sizeof *threads);
    bool good = workers && threads;
    if (!good) (void)io_fail(error, "no memory for %d threads", meter->threads);
    for (int i = 0; good && i < meter->threads; i++) {
        workers[i] = (worker){.meter = meter, .work = work, .index = i};
    }
    good = good && run_workers(workers, threads, meter->threads, rate, error);
    free(workers);
    free(threads);
    return good;
}

static size_t buffer_bytes(void) {
    const size_t wanted = 4 * (size_t)cli_cache_bytes(3);
    if (wanted < buffer_least) return buffer_least;
    return wanted < buffer_most ? wanted : buffer_most;
}

bool cli_meter_open(cli_meter **meter, int threads, attn_isa isa, attn_dtype dtype,
                    io_error *error) {
    double ignored = 0;
    cli_meter *const made = calloc(1, sizeof *made);
    *meter = made;
    if (!made) return io_fail(error, "no memory");
    made->threads = threads < THREADS_MAX ? threads : THREADS_MAX;
    made->loop = cli_find_peak_loop(isa, dtype);
    if (!made->loop) return io_fail(error, "this build cannot measure %s", attn_isa_name(isa));
    const size_t bytes = buffer_bytes();
    made->buffer = aligned_alloc(ALIGNMENT, bytes);
    made->buffer_words = bytes / sizeof(words);
    if (!made->buffer) return io_fail(error, "no memory for a buffer of %zu MiB", bytes >> 20);
    return on_all_threads(made, fill, &ignored, error);
}

void cli_meter_close(cli_meter *meter) {
    if (meter) free(meter->buffer);
    free(meter);
}

static bool measure(cli_meter *meter, double (*work)(const cli_meter *, int, volatile double *),
                    double *giga, io_error *error) {
    (void)nanosleep(&settle, NULL);
    if (!on_all_threads(meter, work, giga, error)) return false;
    *giga *= 1e-9;
    return true;
}

bool cli_meter_peak(cli_meter *meter, double *gflops, io_error *error) {
    return measure(meter, measure_peak, gflops, error);
}

bool cli_meter_bandwidth(cli_meter *meter, double *gbs, io_error *error) {
    return measure(meter, measure_bandwidth, gbs, error);
}
