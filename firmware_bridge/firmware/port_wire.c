#include "port_wire.h"

#define BITS_PER_BYTE 10
#define BURST_US 2000 /* the process wakes each millisecond; later than this is time lost, as on a wire */
#define ONE UINT64_C(1000000)

static const struct {
    uint32_t baud;
    speed_t speed;
} RATES[] = {
    {9600, B9600},     {19200, B19200},     {38400, B38400},     {57600, B57600},
    {115200, B115200}, {230400, B230400},   {460800, B460800},   {500000, B500000},
    {921600, B921600}, {1000000, B1000000}, {1500000, B1500000}, {2000000, B2000000},
    {3000000, B3000000},
};

bool wire_init(wire *w, uint32_t baud, uint64_t seed) {
    for (size_t i = 0; i < sizeof RATES / sizeof *RATES; i++) {
        if (RATES[i].baud == baud) {
            *w = (wire){.baud = baud, .speed = RATES[i].speed, .noise = seed | 1};
            return true;
        }
    }
    return false;
}

size_t wire_allows(const wire *w, wire_bucket *b, uint64_t now_us) {
    uint64_t rate = w->baud / BITS_PER_BYTE; /* bytes/s are millionths of a byte per us */
    uint64_t most = rate * BURST_US > ONE ? rate * BURST_US : ONE;
    uint64_t elapsed = now_us - b->filled_us;
    b->filled_us = now_us;
    b->credit += rate * (elapsed < ONE ? elapsed : ONE);
    if (b->credit > most) {
        b->credit = most;
    }
    return (size_t)(b->credit / ONE);
}

void wire_pass(wire_bucket *b, size_t size) { b->credit -= size * ONE; }

bool wire_garbles(const wire *w, int master) {
    struct termios other; /* a master shows what its slave end is set to */
    if (tcgetattr(master, &other) != 0) {
        return false;
    }
    return cfgetospeed(&other) != w->speed || cfgetispeed(&other) != w->speed;
}

/* xorshift64: Marsaglia, "Xorshift RNGs" (2003) */
void wire_garble(wire *w, uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        w->noise ^= w->noise << 13;
        w->noise ^= w->noise >> 7;
        w->noise ^= w->noise << 17;
        data[i] = (uint8_t)(data[i] ^ (w->noise >> 32 | 1));
    }
}
