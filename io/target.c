#define _GNU_SOURCE
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a signal handler has to remove. An entry is set before its file exists and cleared after it
 * is gone, so a signal at any moment leaves nothing behind. */
static char *volatile pending[IO_TARGETS_MAX];

void io_targets_remove_all(void) {
    for (int i = 0; i < IO_TARGETS_MAX; i++) {
        const char *const path = pending[i];
        if (path) (void)unlink(path);
    }
}

static int free_slot(void) {
    for (int i = 0; i < IO_TARGETS_MAX; i++) {
        if (!pending[i]) return i;
    }
    return -1;
}

/* The mode for the new file: that of the file which it replaces, or the usual one. Refuses paths
 * that a rename would destroy (devices, directories) and files that are write-protected. */
static bool check_place(const char *path, mode_t *mode, io_error *error) {
    struct stat status;
    if (stat(path, &status)) {
        *mode = 0666;
        if (errno == ENOENT) return true;
        return io_fail(error, "%s: cannot be written: %s", path, strerror(errno));
    }
    if (S_ISDIR(status.st_mode)) {
        return io_fail(error, "%s is a directory: expected the name of a file to write", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return io_fail(error, "%s is not a regular file: it cannot be replaced by one", path);
    }
    if (access(path, W_OK)) {
        return io_fail(error, "%s: cannot be overwritten: %s", path, strerror(errno));
    }
    *mode = status.st_mode & 0777;
    return true;
}

/* "directory/.name.PID.tmp": beside the target, because rename works only within a file system. The
 * same file named for two outputs, in whatever spelling, collides here. */
static char *temporary_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    const int directory = slash ? (int)(slash + 1 - path) : 0;
    const size_t size = strlen(path) + 48;
    char *const name = malloc(size);
    if (!name) return NULL;
    (void)snprintf(name, size, "%.*s.%s.%ld.tmp", directory, path, path + directory,
                   (long)getpid());
    return name;
}

static bool create_temporary(io_target *target, mode_t mode, io_error *error) {
    pending[target->slot] = target->temporary;
    const int descriptor = open(target->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (descriptor >= 0) target->stream = fdopen(descriptor, "w+");
    if (target->stream) return true;
    if (errno == EEXIST) {
        return io_fail(error,
                       "%s: cannot be written: it is named twice, or a process that was "
                       "killed left %s",
                       target->path, target->temporary);
    }
    (void)io_fail(error, "%s: cannot be written: %s", target->path, strerror(errno));
    if (descriptor >= 0) (void)unlink(target->temporary), (void)close(descriptor);
    return false;
}

bool io_target_open(io_target *target, const char *path, io_error *error) {
    mode_t mode = 0;
    *target = (io_target){.slot = free_slot()};
    if (!*path) return io_fail(error, "an output's name is empty: expected the name of a file");
    if (target->slot < 0) return io_fail(error, "%s: too many files are being written", path);
    if (!check_place(path, &mode, error)) return false;
    target->path = realpath(path, NULL); /* through a link to the file behind it, if it exists */
    if (!target->path) target->path = strdup(path);
    target->temporary = target->path ? temporary_name(target->path) : NULL;
    const bool opened = target->temporary ? create_temporary(target, mode, error)
                                          : io_fail(error, "%s: out of memory", path);
    if (!opened) io_target_discard(target);
    return opened;
}

bool io_target_map(io_target *target, size_t size, io_error *error) {
    const int descriptor = fileno(target->stream);
    /* Reserving the blocks makes a full disk an error here, not a SIGBUS in the results. */
    const int refused = posix_fallocate(descriptor, 0, (off_t)size);
    if (refused) {
        return io_fail(error, "%s: cannot hold %zu bytes: %s", target->path, size,
                       strerror(refused));
    }
    void *const memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) {
        return io_fail(error, "%s: cannot map %zu bytes: %s", target->path, size, strerror(errno));
    }
    target->memory = memory;
    target->size = size;
    return true;
}

/* Everything to the disk, where the last errors (a full disk, a failing one) show. */
static bool seal(io_target *target, io_error *error) {
    const bool written = !target->memory || msync(target->memory, target->size, MS_SYNC) == 0;
    const bool flushed = fflush(target->stream) == 0 && !ferror(target->stream);
    if (written && flushed && fsync(fileno(target->stream)) == 0) return true;
    return io_fail(error, "%s: cannot be written: %s", target->path, strerror(errno));
}

/* Gives back all that a target holds except the files. */
static void release(io_target *target) {
    if (target->memory) (void)munmap(target->memory, target->size);
    if (target->stream) (void)fclose(target->stream);
    if (target->temporary) pending[target->slot] = NULL;
    free(target->temporary);
    free(target->path);
    *target = (io_target){0};
}

void io_target_discard(io_target *target) {
    if (target->temporary && target->stream) (void)unlink(target->temporary);
    release(target);
}

/* Puts the temporary file into its place. What was there is kept under the temporary name, and that is
 * remembered in `exchanged`, where there was something and the file system can. */
static bool put(io_target *target, io_error *error) {
#ifdef RENAME_EXCHANGE
    target->exchanged =
        renameat2(AT_FDCWD, target->temporary, AT_FDCWD, target->path, RENAME_EXCHANGE) == 0;
    if (target->exchanged) return true;
#endif
    if (rename(target->temporary, target->path) == 0) return true;
    return io_fail(error, "%s: cannot be written: %s", target->path, strerror(errno));
}

/* Undoes it: back to what was there, or to nothing. */
static void take_back(const io_target *target) {
#ifdef RENAME_EXCHANGE
    if (target->exchanged &&
        renameat2(AT_FDCWD, target->temporary, AT_FDCWD, target->path, RENAME_EXCHANGE) == 0) {
        return;
    }
#endif
    (void)unlink(target->path);
}

static bool rename_all(io_target *targets, size_t count, io_error *error) {
    for (size_t i = 0; i < count; i++) {
        if (!targets[i].path || put(&targets[i], error)) continue;
        while (i-- > 0) {
            if (targets[i].path) take_back(&targets[i]);
        }
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (targets[i].exchanged) (void)unlink(targets[i].temporary);
    }
    return true;
}

bool io_targets_commit(io_target *targets, size_t count, io_error *error) {
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        good = !targets[i].path || seal(&targets[i], error);
    }
    good = good && rename_all(targets, count, error);
    for (size_t i = 0; i < count; i++) {
        if (good) release(&targets[i]);
        else io_target_discard(&targets[i]);
    }
    return good;
}
