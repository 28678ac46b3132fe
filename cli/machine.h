/* machine.h: what there is to know about this computer, as far as it tells. */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* The CPU's name, as the operating system has it; "unknown". */
void cli_cpu_name(char *name, size_t size);

/* Processors that are running. */
long cli_cpu_count(void);

/* Bytes of the level 1 (data), 2 and 3 cache; 0: unknown or none. */
int64_t cli_cache_bytes(int level);

#endif
