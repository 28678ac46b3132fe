#define _GNU_SOURCE
#include "cli.h"

#include "../io/target.h"

#include <attn/attn.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAD_USE = 2 };

static const struct {
    const char *name;
    cli_command *run;
    const char *summary;
} commands[] = {
    {"run", cli_run, "compute attention over arrays in files"},
    {"show", cli_show, "draw the weights: terminal, PNG, HTML"},
    {"translate", cli_translate, "translate sentences, and show where each word looked"},
    {"train", cli_train, "train a model that translates"},
    {"evaluate", cli_evaluate, "how well a model translates, and aligns"},
    {"align", cli_align, "links between the words of pairs; or a path through weights"},
    {"rollout", cli_rollout, "follow attention through a model's layers"},
    {"flow", cli_flow, "the same as the maximum flow from one token"},
    {"info", cli_info, "version, CPU, instruction set, threads"},
    {"bench", cli_bench, "measure speed against this machine's own peak"},
    {"check-gradients", cli_check_gradients, "hold gradients against reference and differences"},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(void) {
    printf("usage: attn COMMAND [OPTION]... [FILE]\n\n"
           "Exact attention for CPUs, with its weights.\n\ncommands:\n");
    for (int i = 0; i < COMMANDS; i++) {
        printf("  %-17s%s\n", commands[i].name, commands[i].summary);
    }
    printf("\noptions:\n  --help    this text; attn COMMAND --help for a command's own\n"
           "  --version\n");
}

/* Whatever ends the process early first removes the files that it has only half written. */
static void end_on_signal(int number) {
    io_targets_remove_all();
    (void)raise(number); /* blocked while its handler runs, so this takes effect on return */
}

/* A mapped page that cannot be had. Several threads may come here at the same time: one speaks, the
 * others wait for the end. */
static void end_on_bus_error(int number) {
    static atomic_flag ending = ATOMIC_FLAG_INIT;
    static const char sentence[] =
        "attn: a file was cut short, or could not be read, while it was in use\n";
    (void)number;
    while (atomic_flag_test_and_set(&ending)) (void)pause();
    io_targets_remove_all();
    const ssize_t ignored = write(STDERR_FILENO, sentence, sizeof sentence - 1);
    (void)ignored;
    _exit(BAD_USE);
}

static void watch_signal(int number, void (*handler)(int), unsigned flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = (int)flags};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(number, &action, NULL);
}

static void watch_signals(void) {
    static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++) {
        watch_signal(watched[i], end_on_signal, SA_RESETHAND);
    }
    watch_signal(SIGBUS, end_on_bus_error, 0);
    watch_signal(SIGXFSZ, SIG_IGN, 0); /* writes then fail with EFBIG, and a sentence */
}

/* One line, whatever names of files got into it. */
static int complain(const char *command, const io_error *error) {
    (void)fprintf(stderr, "attn%s%s: ", command ? " " : "", command ? command : "");
    for (const char *c = error->text; *c; c++) {
        (void)fputc((unsigned char)*c < ' ' || *c == 0x7f ? '?' : *c, stderr);
    }
    (void)fputc('\n', stderr);
    return BAD_USE;
}

static int status = 0;

void cli_set_status(int wanted) {
    status = wanted;
}

/* What was printed counts only once it has arrived. */
static int finish(const char *command) {
    io_error error;
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    (void)io_fail(&error, "standard output: %s", strerror(errno));
    return complain(command, &error);
}

static int run_command(int argc, char **argv) {
    io_error error = {""};
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[0], commands[i].name) != 0) continue;
        if (!commands[i].run(argc, argv, &error)) return complain(commands[i].name, &error);
        return finish(commands[i].name);
    }
    (void)io_fail(&error, "unknown %s %s: see attn --help",
                  argv[0][0] == '-' ? "option" : "command", argv[0]);
    return complain(NULL, &error);
}

int main(int argc, char **argv) {
    io_error error = {"expected a command: see attn --help"};
    (void)setlocale(LC_CTYPE, ""); /* numbers stay as they are in C, whatever the locale */
    watch_signals();
    if (argc < 2) return complain(NULL, &error);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return finish(NULL);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("attn %s\n", attn_version());
        return finish(NULL);
    }
    return run_command(argc - 1, argv + 1);
}
