/* generic.c: the tables for any machine. */
#include "tiles/common.h"

#include "tiles/generic.h"

/* 16 registers, of which a product without a fused multiply-add takes one more. */
#define MAX_TILE_VECS 2
#define MAX_TILE_ROWS 6
#define TILE_ROWS(vecs) 6

#include "tiles/instantiate.h"
