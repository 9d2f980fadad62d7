/* A cross-entropy of one's own, in C, fuzzed against `surprisal oracle`.
 *
 *     cc -std=c99 -Wall -Wextra -O2 conformance/fuzz_naive_softmax.c -lm -o fuzz_naive_softmax
 *     ./fuzz_naive_softmax surprisal oracle
 *
 * prints
 *
 *     naive, spread 32, largest logit 20.74: 9.72747803e-05, the oracle has 9.6484558029610333e-05
 *     naive, spread 32, largest logit 22.12: 0.00365066528, the oracle has 0.0036515325563683284
 *     naive, spread 32, largest logit 24.63: 0.024143219, the oracle has 0.024144206786230853
 *     naive, spread 128, largest logit 113.1: inf, the oracle has 225.1497802734375
 *     naive: 775 of 2200 losses differ; it overflows from spread 128 on, with a largest logit of 90.3
 *     repaired: 0 of 2200 losses differ
 *
 * (the digits by the expf of the machine): before the naive loss overflows, it loses small losses in rounding.
 *
 * The arguments are the command of the oracle. It runs as a child with a pipe either way: a line with the random logits
 * of all rows of one spread goes out, a line with their losses comes back, and both losses below, in float, are
 * compared with it. Exit status: 0 where the repaired loss agrees everywhere, 1 where it does not, 2 for trouble.
 */
#define _POSIX_C_SOURCE 200809L

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 200, CLASSES = 8, SHOWN = 3 };

/* What many write first: exp of a logit above 88.7 is no float, of logits below -104 all are 0. */
static float naive(const float *logits, int target) {
    float sum = 0;
    for (int j = 0; j < CLASSES; j++) {
        sum += expf(logits[j]);
    }
    return logf(sum) - logits[target];
}

/* The largest logit is taken off first: no exponential is above 1, and one of them is 1. */
static float repaired(const float *logits, int target) {
    float largest = logits[0], sum = 0;
    for (int j = 1; j < CLASSES; j++) {
        largest = fmaxf(largest, logits[j]);
    }
    for (int j = 0; j < CLASSES; j++) {
        sum += expf(logits[j] - largest);
    }
    return logf(sum) + (largest - logits[target]);
}

/* What rounding does to the repaired loss at most, u being half of FLT_EPSILON. The sum has a relative error of u for
 * each addition and of 3u from the exponentials (2u of expf, u/e of the difference before it), which is an absolute
 * one of its logarithm. The errors of logf (2u), of the difference (u) and of the last sum (u) are relative to terms
 * that are never negative, so to the loss. */
static int agrees(float found, double wanted) {
    const double u = FLT_EPSILON / 2;
    return fabs(found - wanted) <= (CLASSES + 3) * u + 4 * u * fabs(wanted);
}

struct fuzzed {
    const char *name;
    float (*loss)(const float *logits, int target);
    int differs, shown;
    double overflows_at;      /* the first spread with a loss that is no number; 0 for none */
    float smallest_overflow;  /* of the rows with such a loss, the least largest logit */
};

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

/* The oracle as a child: what is written to `requests` it reads, what it writes is read from `responses`. */
static pid_t start(char **command, FILE **requests, FILE **responses) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) {
        perror("pipe");
        exit(2);
    }
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(2);
    }
    if (child == 0) {
        if (dup2(to[0], STDIN_FILENO) < 0 || dup2(from[1], STDOUT_FILENO) < 0) {
            perror("dup2");
            _exit(127);
        }
        close(to[0]), close(to[1]), close(from[0]), close(from[1]);
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    close(to[0]), close(from[1]);
    *requests = fdopen(to[1], "w");
    *responses = fdopen(from[0], "r");
    if (*requests == NULL || *responses == NULL) {
        perror("fdopen");
        exit(2);
    }
    return child;
}

/* From -1 to 1, the same in every run (SplitMix64). */
static double uniform(uint64_t *state) {
    uint64_t bits = *state += 0x9E3779B97F4A7C15u;
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u;
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EBu;
    bits ^= bits >> 31;
    return (double)(bits >> 11) / 4503599627370496.0 - 1;
}

/* One request a line. 17 digits give the number back that a float is, to its last bit. */
static void ask(FILE *requests, float logits[ROWS][CLASSES], const int *targets) {
    fputs("{\"function\":\"cross_entropy\",\"logits\":[", requests);
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < CLASSES; j++) {
            const char *before = j > 0 ? "," : i > 0 ? "],[" : "[";
            fprintf(requests, "%s%.17g", before, (double)logits[i][j]);
        }
    }
    fputs("]],\"targets\":[", requests);
    for (int i = 0; i < ROWS; i++) {
        fprintf(requests, "%s%d", i > 0 ? "," : "", targets[i]);
    }
    fputs("]}\n", requests);
    if (fflush(requests) != 0) {
        perror("cannot write to the oracle");
        exit(2);
    }
}

/* A number of a response, or one of the words for what is none; moves behind it. */
static double number(const char **text) {
    static const struct { const char *word; double value; } words[] = {
        {"\"inf\"", INFINITY}, {"\"-inf\"", -INFINITY}, {"\"nan\"", NAN}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t length = strlen(words[i].word);
        if (strncmp(*text, words[i].word, length) == 0) {
            *text += length;
            return words[i].value;
        }
    }
    char *end;
    double value = strtod(*text, &end);
    if (end == *text) {
        fail("no number in the oracle's answer: %.80s", *text);
    }
    *text = end;
    return value;
}

/* The line {"value":[...]} that answers a request. */
static void answer(FILE *responses, double losses[ROWS]) {
    static char *line;
    static size_t room;
    if (getline(&line, &room, responses) < 0) {
        fail("the oracle has ended without an answer");
    }
    const char *text = strstr(line, "\"value\":[");
    if (text == NULL) {
        fail("the oracle answers: %.200s", line);
    }
    text += strlen("\"value\":[");
    for (int i = 0; i < ROWS; i++) {
        losses[i] = number(&text);
        if (*text++ != (i + 1 < ROWS ? ',' : ']')) {
            fail("the oracle answers something else than %d losses: %.80s", ROWS, line);
        }
    }
}

static void compare(struct fuzzed *fuzzed, double spread, const float *logits, int target, double wanted) {
    float found = fuzzed->loss(logits, target), largest = logits[0];
    if (agrees(found, wanted)) {
        return;
    }
    fuzzed->differs++;
    for (int j = 1; j < CLASSES; j++) {
        largest = fmaxf(largest, logits[j]);
    }
    int overflows = !isfinite(found), first = overflows && fuzzed->overflows_at == 0;
    if (first) {
        fuzzed->overflows_at = spread;
        fuzzed->smallest_overflow = largest;
    } else if (overflows) {
        fuzzed->smallest_overflow = fminf(fuzzed->smallest_overflow, largest);
    }
    if (first || fuzzed->shown < SHOWN) {
        fuzzed->shown++;
        printf("%s, spread %g, largest logit %.4g: %.9g, the oracle has %.17g\n", fuzzed->name, spread, largest,
               found, wanted);
    }
}

int main(int count, char **arguments) {
    if (count < 2) {
        fail("usage: %s COMMAND [ARGUMENT]..., such as surprisal oracle", count ? arguments[0] : "fuzz_naive_softmax");
    }
    /* A child that is gone is an error of the write, with a message, and not the end. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        perror("signal");
        return 2;
    }
    FILE *requests, *responses;
    pid_t child = start(arguments + 1, &requests, &responses);

    struct fuzzed fuzzed[] = {{"naive", naive, 0, 0, 0, 0}, {"repaired", repaired, 0, 0, 0, 0}};
    uint64_t state = 0;
    for (double spread = 1; spread <= 1024; spread *= 2) {
        static float logits[ROWS][CLASSES];
        int targets[ROWS];
        double losses[ROWS];
        for (int i = 0; i < ROWS; i++) {
            for (int j = 0; j < CLASSES; j++) {
                logits[i][j] = (float)(spread * uniform(&state));
            }
            targets[i] = i % CLASSES;
        }
        ask(requests, logits, targets);
        answer(responses, losses);
        for (int i = 0; i < ROWS; i++) {
            compare(&fuzzed[0], spread, logits[i], targets[i], losses[i]);
            compare(&fuzzed[1], spread, logits[i], targets[i], losses[i]);
        }
    }
    int status;
    if (fclose(requests) != 0 || fclose(responses) != 0 || waitpid(child, &status, 0) < 0) {
        perror("cannot end the oracle");
        return 2;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail("the oracle has not ended well");
    }
    for (int i = 0; i < 2; i++) {
        printf("%s: %d of %d losses differ", fuzzed[i].name, fuzzed[i].differs, 11 * ROWS);
        if (fuzzed[i].overflows_at > 0) {
            printf("; it overflows from spread %g on, with a largest logit of %.4g", fuzzed[i].overflows_at,
                   fuzzed[i].smallest_overflow);
        }
        putchar('\n');
    }
    return fuzzed[1].differs > 0;
}
