/* threads.h: sentences and shards side by side, each with a BLAS of one thread. */
#ifndef TRANSLATE_THREADS_H
#define TRANSLATE_THREADS_H

/* Tells the BLAS to use one thread for each caller. Returns how many callers there are to be: `wanted`, or,
 * for 0, what OpenMP would use, which an OpenBLAS built on OpenMP forgets when it is told. */
int translate_use_threads(int wanted);

#endif
