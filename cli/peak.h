/* peak.h: the most arithmetic that a core can do. */
#ifndef CLI_PEAK_H
#define CLI_PEAK_H

#include <attn/attn.h>

/* Does a fixed piece of multiply-adds, in registers alone, and returns how many operations (a
 * multiply-add is two) that was. `sink` takes the result, so that none is optimised away. */
typedef double cli_peak_loop(volatile double *sink);

/* The loop for a table of the library and an element type, NULL if this build has none. */
cli_peak_loop *cli_find_peak_loop(attn_isa isa, attn_dtype dtype);

#endif
