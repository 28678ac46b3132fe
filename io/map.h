/* map.h: a file as memory, read only. */
#ifndef IO_MAP_H
#define IO_MAP_H

#include "error.h"

#include <stddef.h>

typedef struct io_map {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
} io_map;

/* Maps a whole regular file. Nothing is read until it is touched, and pages can be dropped again,
 * so a file may be larger than memory. The mapping stays on the file that was opened, even if
 * another one is renamed over its path. Close it with io_map_close. */
bool io_map_open(io_map *map, const char *path, io_error *error);

/* Unmaps and zeroes; fine on a zeroed map. */
void io_map_close(io_map *map);

#endif
