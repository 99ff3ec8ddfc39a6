/* Reset: memory laid out, FPU on, main; time, sleep and restart; what the compiler expects of a C library. */
#include <stddef.h>
#include <stdint.h>

#include "handoff.h"
#include "mcu.h"

extern uint32_t _data_from, _data_start, _data_end, _bss_start, _bss_end;
int main(void);
void Reset_Handler(void);
void Fault_Handler(void);

void Reset_Handler(void) {
    const uint32_t *from = &_data_from;
    for (uint32_t *to = &_data_start; to < &_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &_bss_start; to < &_bss_end;) {
        *to++ = 0;
    }
    REGISTER(0xE000ED88) |= 0xFu << 20; /* CPACR: the FPU, whether this build uses it or not */
    __asm volatile("dsb\n\tisb");
    main();
    mcu_reset();
}

/* Any fault: leave the program counter for the next boot's log, and begin anew. Motors are off with
 * the reset. */
__attribute__((used)) void fault_seen(const uint32_t *frame);
void fault_seen(const uint32_t *frame) {
    HANDOFF->fault_pc = frame[6];
    mcu_reset();
}

__attribute__((naked)) void Fault_Handler(void) {
    __asm volatile("tst lr, #4\n\t"
                   "ite eq\n\t"
                   "mrseq r0, msp\n\t"
                   "mrsne r0, psp\n\t"
                   "b fault_seen");
}

uint64_t mcu_us(void) {
    static uint32_t high, last;
    uint32_t mask = mcu_lock();
    uint32_t low = mcu_counter();
    high += low < last;
    last = low;
    uint64_t us = (uint64_t)high << 32 | low;
    mcu_unlock(mask);
    return us;
}

void mcu_wait(void) { __asm volatile("wfi"); }

_Noreturn void mcu_reset(void) {
    __asm volatile("dsb");
    REGISTER(0xE000ED0C) = 0x05FA0004;
    for (;;) {
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    uint8_t *t = to;
    const uint8_t *f = from;
    while (size--) {
        *t++ = *f++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    uint8_t *t = to;
    const uint8_t *f = from;
    if (t <= f) {
        return memcpy(to, from, size);
    }
    while (size--) {
        t[size] = f[size];
    }
    return to;
}

void *memset(void *to, int value, size_t size) {
    uint8_t *t = to;
    while (size--) {
        *t++ = (uint8_t)value;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const uint8_t *x = a, *y = b;
    for (; size--; x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
    }
    return 0;
}

size_t strnlen(const char *text, size_t most) {
    size_t size = 0;
    while (size < most && text[size]) {
        size++;
    }
    return size;
}

size_t strlen(const char *text) { return strnlen(text, (size_t)-1); }
