/* Flash of a host build: NOR semantics over the caller's memory, and a power cut after so many bytes. */
#include <string.h>

#include "nvm.h"

static uint8_t *memory;
static int64_t left = -1; /* bytes until the power is cut, -1: never */

void nvm_host_attach(uint8_t *bytes) { memory = bytes; }
void nvm_host_cut_after(int64_t bytes) { left = bytes; }

const uint8_t *nvm_at(uint32_t offset) { return memory + offset; }

static bool powered(void) {
    if (left == 0) {
        return false;
    }
    left -= left > 0;
    return true;
}

void nvm_pause(void) {}

bool nvm_erase(uint32_t offset, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        if (!powered()) {
            return false;
        }
        memory[offset + i] = 0xFF;
    }
    return true;
}

bool nvm_write(uint32_t offset, const void *data, uint32_t size) {
    const uint8_t *from = data;
    for (uint32_t i = 0; i < size; i++) {
        if (!powered()) {
            return false;
        }
        memory[offset + i] &= from[i];
    }
    return memcmp(memory + offset, data, size) == 0;
}
