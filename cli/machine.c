#define _GNU_SOURCE
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Copies what follows "key   : " in /proc/cpuinfo's first line that starts with key. */
static int find_in_cpuinfo(FILE *cpuinfo, const char *key, char *value, size_t size) {
    char line[512];
    rewind(cpuinfo);
    while (fgets(line, sizeof line, cpuinfo)) {
        const char *const colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon) continue;
        const char *const start = colon + 1 + strspn(colon + 1, " \t");
        (void)snprintf(value, size, "%.*s", (int)strcspn(start, "\n"), start);
        return 1;
    }
    return 0;
}

void cli_cpu_name(char *name, size_t size) {
    /* x86; some ARM and POWER kernels; older ARM boards. */
    static const char *const keys[] = {"model name", "cpu\t", "Hardware", "Model"};
    FILE *const cpuinfo = fopen("/proc/cpuinfo", "r");
    struct utsname system;
    int found = 0;
    for (size_t i = 0; cpuinfo && !found && i < sizeof keys / sizeof keys[0]; i++) {
        found = find_in_cpuinfo(cpuinfo, keys[i], name, size);
    }
    if (cpuinfo) (void)fclose(cpuinfo);
    if (!found) (void)snprintf(name, size, "%s", uname(&system) ? "unknown" : system.machine);
}

long cli_cpu_count(void) {
    return sysconf(_SC_NPROCESSORS_ONLN);
}

/* The first line of a file of the first processor's index-th cache, under /sys. */
static int read_cache_fact(int index, const char *fact, char *text, size_t size) {
    char path[128];
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, fact);
    FILE *const file = fopen(path, "r");
    const int read = file && fgets(text, (int)size, file) != NULL;
    if (file) (void)fclose(file);
    return read;
}

int64_t cli_cache_bytes(int level) {
    char text[32];
    for (int index = 0; read_cache_fact(index, "level", text, sizeof text); index++) {
        if (strtol(text, NULL, 10) != level) continue;
        if (!read_cache_fact(index, "type", text, sizeof text) || text[0] == 'I') continue;
        if (!read_cache_fact(index, "size", text, sizeof text)) continue;
        return strtol(text, NULL, 10) * 1024; /* always in the form "32768K" */
    }
    return 0;
}
