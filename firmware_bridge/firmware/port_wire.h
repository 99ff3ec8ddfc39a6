/* The wire of the host process: as slow as its rate, and rubbish where the two ends disagree.
 *
 * A pty passes bytes at once and at any rate. A UART takes ten bits for each, and one that listens
 * at another rate hears other bytes; hosts that forget either work here and fail on a robot. */
#ifndef COMPANION_PORT_WIRE_H
#define COMPANION_PORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One way: what may pass by now. */
typedef struct {
    uint64_t filled_us;
    uint64_t credit; /* millionths of a byte */
} wire_bucket;

typedef struct {
    uint32_t baud;
    uint32_t speed; /* the same as the kernel names it */
    uint64_t noise;
    wire_bucket rx, tx;
} wire;

/* False: no rate that the kernel has a name for. The seed decides what is heard at a wrong rate. */
bool wire_init(wire *w, uint32_t baud, uint64_t seed);
/* Bytes that may pass now; wire_pass() takes them off. */
size_t wire_allows(const wire *w, wire_bucket *b, uint64_t now_us);
void wire_pass(wire_bucket *b, size_t size);
/* Set a terminal to this wire's rate. */
bool wire_set(const wire *w, int terminal);
/* Whether the other end of this pty is set to another rate. */
bool wire_garbles(const wire *w, int master);
/* What arrives of these bytes at another rate, in place. */
void wire_garble(wire *w, uint8_t *data, size_t size);

#endif
