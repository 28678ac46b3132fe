/* cli.h: the subcommands, one file each (rollout and flow share theirs). */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "../io/error.h"

/* Runs a subcommand: argv[0] is its name. Returns false with a sentence for bad use or input; main
 * prints it and makes it exit status 2. */
typedef bool cli_command(int argc, char **argv, io_error *error);

cli_command cli_run;
cli_command cli_show;
cli_command cli_translate;
cli_command cli_train;
cli_command cli_evaluate;
cli_command cli_align;
cli_command cli_rollout;
cli_command cli_flow;
cli_command cli_info;
cli_command cli_bench;
cli_command cli_check_gradients;

/* What a command that did its work makes attn exit with, where that is not 0. */
void cli_set_status(int wanted);

#endif
