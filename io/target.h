/* target.h: files that appear whole or not at all.
 *
 * A target is written to a temporary file beside its path and renamed onto it at the very end. All
 * that can be checked is checked when it is opened, before any work is done for it: that the
 * directory is there and takes files, that the path is not a directory or a device, that an old
 * file may be overwritten and, for mapped targets, that the disk has room.
 */
#ifndef IO_TARGET_H
#define IO_TARGET_H

#include "error.h"

#include <stddef.h>
#include <stdio.h>

enum { IO_TARGETS_MAX = 32 }; /* how many may be open at a time */

typedef struct io_target {
    char *path;      /* where the file will be, symbolic links resolved */
    char *temporary; /* where it is now */
    FILE *stream;    /* to write to, unless the target is mapped */
    void *memory;    /* the mapping, if it is */
    size_t size;     /* of the mapping */
    bool exchanged;  /* the file that was there before now has the temporary name */
    int slot;        /* in the table of temporary files to remove on a signal */
} io_target;

/* Opens a target for path. On success end it with io_targets_commit or io_target_discard. */
bool io_target_open(io_target *target, const char *path, io_error *error);

/* Makes the target `size` bytes of zeros, reserves the disk space and maps them, writable, at
 * target->memory: results larger than memory are computed straight into the file. */
bool io_target_map(io_target *target, size_t size, io_error *error);

/* Finishes all targets: first each is flushed to the disk, then each is renamed, in their order. If
 * anything fails none is left, neither under its path nor as a temporary file, and files that were
 * there before are there again (unless a rename fails after another one on a file system that cannot
 * exchange two names). Zeroed targets are passed over. */
bool io_targets_commit(io_target *targets, size_t count, io_error *error);

/* Removes the temporary file and leaves the path as it was. Fine on a zeroed target. */
void io_target_discard(io_target *target);

/* Removes the temporary files of all open targets; for signal handlers (async-signal-safe). */
void io_targets_remove_all(void);

#endif
