/* Common to all harnesses: an input read from its front, and what was really fed, told at the end. */
#ifndef COMPANION_FUZZ_H
#define COMPANION_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long long fuzzed_bytes, fuzzed_runs;

__attribute__((destructor)) static void tell(void) {
    fprintf(stderr, "fuzzed: %llu bytes in %llu runs\n", fuzzed_bytes, fuzzed_runs);
}

static void check(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        abort();
    }
}

typedef struct {
    const uint8_t *at;
    size_t left;
} input;

static uint8_t byte(input *in) {
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

/* At most `size` bytes; the place is the input's own. */
static const uint8_t *bytes(input *in, size_t *size) {
    const uint8_t *at = in->at;
    *size = *size < in->left ? *size : in->left;
    in->at += *size;
    in->left -= *size;
    return at;
}

/* `size` bytes, zeros behind the input's end. */
static void fill(input *in, void *out, size_t size) {
    size_t found = size;
    const uint8_t *at = bytes(in, &found);
    memset(out, 0, size);
    memcpy(out, at, found);
}

#endif
