#define _GNU_SOURCE
#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool map_descriptor(io_map *map, int descriptor, const char *path, io_error *error) {
    struct stat status;
    if (fstat(descriptor, &status)) return io_fail(error, "%s: %s", path, strerror(errno));
    if (S_ISDIR(status.st_mode)) {
        return io_fail(error, "%s is a directory: expected a file", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return io_fail(error, "%s is not a regular file: only those can be mapped", path);
    }
    if (status.st_size == 0) return true;
    void *const data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) return io_fail(error, "%s: cannot map: %s", path, strerror(errno));
    *map = (io_map){.data = data, .size = (size_t)status.st_size};
    return true;
}

bool io_map_open(io_map *map, const char *path, io_error *error) {
    *map = (io_map){0};
    /* Without O_NONBLOCK the open of a pipe would wait for a writer before it can be refused. */
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return io_fail(error, "%s: %s", path, strerror(errno));
    const bool mapped = map_descriptor(map, descriptor, path, error);
    (void)close(descriptor);
    return mapped;
}

void io_map_close(io_map *map) {
    if (map->data) (void)munmap((void *)(uintptr_t)map->data, map->size);
    *map = (io_map){0};
}
