/* threads.h: the threads of the OpenMP runtime that the process already has. */
#ifndef ATTN_PYTHON_THREADS_H
#define ATTN_PYTHON_THREADS_H

#include <stdint.h>

/* An attn_parallel_for. Two OpenMP runtimes in one process have two teams of threads, which wait for
 * work by spinning and take each other's cores. So this extension links with none: it finds the one
 * that is loaded (PyTorch's, often), or else loads the system's. Without any, or in a process that was
 * forked (whose runtime may hang), it starts plain threads for each call. user is not used. */
void threads_run(void *user, int64_t count, void (*task)(void *argument, int64_t i),
                 void *argument);

/* How many threads a context has that was not told: OMP_NUM_THREADS, or else the processors that this
 * process may use. */
int threads_default(void);

/* Looks for the runtime anew at the next call: something that may bring its own was imported. */
void threads_forget(void);

/* The runtime's file name, "" before the first call, or "plain threads". */
const char *threads_runtime(void);

#endif
