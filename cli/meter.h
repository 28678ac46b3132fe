/* meter.h: what this machine can do at best: the roofs that attn bench compares with. */
#ifndef CLI_METER_H
#define CLI_METER_H

#include "../io/error.h"

#include <attn/attn.h>

typedef struct cli_meter cli_meter;

/* Readies the measurements for that many threads and that table and element type. Close it with
 * cli_meter_close (NULL is fine). */
bool cli_meter_open(cli_meter **meter, int threads, attn_isa isa, attn_dtype dtype,
                    io_error *error);
void cli_meter_close(cli_meter *meter);

/* 10^9 operations a second of multiply-adds in registers, all threads together. Takes 20 ms. */
bool cli_meter_peak(cli_meter *meter, double *gflops, io_error *error);

/* 10^9 bytes a second read from memory, all threads together, over a buffer of at least four times
 * the last cache. Takes a pass over it. */
bool cli_meter_bandwidth(cli_meter *meter, double *gbs, io_error *error);

/* Seconds since some moment. */
double cli_seconds(void);

#endif
