#include "port_wire.h"

#include <sys/ioctl.h>

#define BITS_PER_BYTE 10
#define BURST_US 2000 /* the process wakes each millisecond; later than this is time lost, as on a wire */
#define ONE UINT64_C(1000000)

/* The kernel's own interface (asm-generic/termbits.h), not the C library's: from glibc 2.42 on a B921600
 * is the number itself, so that headers and library of different age disagree about every rate. */
#define KERNEL_GET 0x5401u
#define KERNEL_SET 0x5402u
#define OUTPUT_RATE 0010017u
#define INPUT_RATE 002003600000u /* zero: as the output */
#define INPUT_SHIFT 16

typedef struct {
    uint32_t input, output, control, local;
    uint8_t line, characters[19];
} kernel_termios;

static const struct {
    uint32_t baud, speed;
} RATES[] = {
    {9600, 0000015},     {19200, 0000016},     {38400, 0000017},     {57600, 0010001},
    {115200, 0010002},   {230400, 0010003},    {460800, 0010004},    {500000, 0010005},
    {921600, 0010007},   {1000000, 0010010},   {1500000, 0010012},   {2000000, 0010013},
    {3000000, 0010015},
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

bool wire_set(const wire *w, int terminal) {
    kernel_termios settings;
    if (ioctl(terminal, KERNEL_GET, &settings) != 0) {
        return false;
    }
    settings.control = (settings.control & ~(OUTPUT_RATE | INPUT_RATE)) | w->speed;
    return ioctl(terminal, KERNEL_SET, &settings) == 0;
}

bool wire_garbles(const wire *w, int master) {
    kernel_termios other; /* a master shows what its slave end is set to */
    if (ioctl(master, KERNEL_GET, &other) != 0) {
        return false;
    }
    uint32_t input = (other.control & INPUT_RATE) >> INPUT_SHIFT;
    return (other.control & OUTPUT_RATE) != w->speed || (input != 0 && input != w->speed);
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
