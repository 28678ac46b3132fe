/* The smallest use of the library, in the C that C11 and C++17 share. One query sees one key, so
 * its weight is 1 and the output is the value, to the bit; and on the way back, the gradient of the
 * value is that of the output. */
#include <attn/attn.h>
#include <attn/gradients.h>

#include <stdio.h>
#include <string.h>

static int versions_agree(void) {
    char parts[48];
    snprintf(parts, sizeof parts, "%d.%d.%d", ATTN_VERSION_MAJOR, ATTN_VERSION_MINOR,
             ATTN_VERSION_PATCH);
    return strcmp(parts, ATTN_VERSION_STRING) == 0 && strcmp(parts, attn_version()) == 0;
}

/* The weight is 1 whatever the query is: its gradient is 0. */
static int goes_back(const attn_problem *problem) {
    const float flow[3] = {7, 11, 13};
    float d_query[2] = {1, 1}, d_value[3] = {0, 0, 0};
    attn_result_gradients from;
    attn_input_gradients to;
    memset(&from, 0, sizeof from);
    memset(&to, 0, sizeof to);
    from.output = attn_tensor_f32(flow, 1, 1, 1, 3);
    to.query = attn_tensor_f32(d_query, 1, 1, 1, 2);
    to.value = attn_tensor_f32(d_value, 1, 1, 1, 3);
    return attn_backward(NULL, problem, &from, &to) == ATTN_OK && d_query[0] == 0 &&
           d_query[1] == 0 && memcmp(d_value, flow, sizeof flow) == 0;
}

int main(void) {
    const float query[2] = {1, 0}, key[2] = {1, 1}, value[3] = {2, 3, 5};
    float output[3] = {0, 0, 0};
    attn_problem problem;
    memset(&problem, 0, sizeof problem);
    problem.query = attn_tensor_f32(query, 1, 1, 1, 2);
    problem.key = attn_tensor_f32(key, 1, 1, 1, 2);
    problem.value = attn_tensor_f32(value, 1, 1, 1, 3);
    problem.output = attn_tensor_f32(output, 1, 1, 1, 3);

    if (attn_forward(NULL, &problem) != ATTN_OK) {
        fprintf(stderr, "%s\n", attn_error_message());
        return 1;
    }
    if (memcmp(output, value, sizeof value) != 0) {
        fprintf(stderr, "the output is not the value\n");
        return 1;
    }
    if (!goes_back(&problem)) {
        fprintf(stderr, "the gradients are wrong: %s\n", attn_error_message());
        return 1;
    }
    if (!versions_agree()) {
        fprintf(stderr, "library %s, header %s\n", attn_version(), ATTN_VERSION_STRING);
        return 1;
    }
    return 0;
}
