#include "nn.h"

#include <stdio.h>

attn_nn_name attn_nn_join(const char *prefix, const char *name) {
    attn_nn_name joined;
    (void)snprintf(joined.text, sizeof joined.text, "%s%s%s", prefix, *prefix ? "." : "", name);
    return joined;
}

attn_nn_name attn_nn_join_number(const char *prefix, const char *name, int64_t number) {
    attn_nn_name joined;
    (void)snprintf(joined.text, sizeof joined.text, "%s%s%s.%lld", prefix, *prefix ? "." : "", name,
                   (long long)number);
    return joined;
}
