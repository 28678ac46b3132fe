#define _GNU_SOURCE
#include "threads.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* GCC's entry for a parallel region, which LLVM's and Intel's runtimes have as well. */
typedef void parallel_region(void (*body)(void *), void *data, unsigned threads, unsigned flags);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool known;              /* under the mutex, as the two that follow */
static parallel_region *region; /* NULL: plain threads */
static char runtime[256];
static bool is_forked; /* only ever set in a process of one thread */

/* ---------------------------------------------------------------------------- finding the runtime */

static bool take(const char *path) {
    void *const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *const symbol = library ? dlsym(library, "GOMP_parallel") : NULL;
    if (!symbol) return false;
    memcpy(&region, &symbol, sizeof region); /* ISO C has no cast from objects to functions */
    const char *const slash = strrchr(path, '/');
    snprintf(runtime, sizeof runtime, "%s", slash ? slash + 1 : path);
    return true;
}

static int look(struct dl_phdr_info *info, size_t size, void *found) {
    (void)size;
    static const char *const names[] = {"/libgomp", "/libiomp5", "/libomp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(info->dlpi_name, names[i])) {
            /* Only noted: the loader's lock is held here. PyTorch's own one wins. */
            char *const path = found;
            if (!*path || strstr(info->dlpi_name, "/torch"))
                snprintf(path, 4096, "%s", info->dlpi_name);
            return 0;
        }
    return 0;
}

static void find(void) {
    char loaded[4096] = "";
    region = NULL;
    if (!is_forked) dl_iterate_phdr(look, loaded);
    if (is_forked || (!(*loaded && take(loaded)) && !take("libgomp.so.1")))
        snprintf(runtime, sizeof runtime, "plain threads");
    known = true;
}

/* Threads do not survive a fork, and GCC's runtime waits for those that it had. */
static void forked(void) {
    pthread_mutex_init(&mutex, NULL);
    is_forked = true;
    known = false;
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forked);
}

static parallel_region *current(void) {
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&mutex);
    if (!known) find();
    parallel_region *const r = region;
    pthread_mutex_unlock(&mutex);
    return r;
}

void threads_forget(void) {
    pthread_mutex_lock(&mutex);
    known = false;
    pthread_mutex_unlock(&mutex);
}

const char *threads_runtime(void) {
    return runtime;
}

int threads_default(void) {
    const char *const wish = getenv("OMP_NUM_THREADS"); /* a list for nested levels: the first */
    const long wished = wish ? strtol(wish, NULL, 10) : 0;
    if (wished > 0 && wished <= 4096) return (int)wished;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    const int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}

/* ---------------------------------------------------------------------------------------- running */

typedef struct loop {
    void (*task)(void *argument, int64_t i);
    void *argument;
    int64_t count;
    _Atomic int64_t next;
} loop;

/* Whoever comes takes the next iteration, so that a team smaller than asked for does all. */
static void body(void *data) {
    loop *const l = data;
    for (int64_t i; (i = atomic_fetch_add(&l->next, 1)) < l->count;) l->task(l->argument, i);
}

static void *thread_body(void *data) {
    body(data);
    return NULL;
}

enum { MOST_PLAIN_THREADS = 256 };

static void run_plain(loop *l) {
    pthread_t threads[MOST_PLAIN_THREADS];
    int64_t made = 0;
    while (made < l->count - 1 && made < MOST_PLAIN_THREADS &&
           pthread_create(&threads[made], NULL, thread_body, l) == 0)
        made++;
    body(l);
    while (made > 0) pthread_join(threads[--made], NULL);
}

void threads_run(void *user, int64_t count, void (*task)(void *argument, int64_t i),
                 void *argument) {
    (void)user;
    loop l = {.task = task, .argument = argument, .count = count};
    parallel_region *const r = current();
    if (r) r(body, &l, (unsigned)count, 0);
    else run_plain(&l);
}
