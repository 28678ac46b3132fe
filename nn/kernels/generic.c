/* generic.c: the row functions for any machine. */
#include "kernels.h"

#include "tiles/common.h"

#include "tiles/generic.h"

#include "functions.h"
