/* A few words of RAM that survive a reset: what loader and application tell each other. */
#ifndef COMPANION_HANDOFF_H
#define COMPANION_HANDOFF_H

#include <stdint.h>

#include "board_gen.h"

#define HANDOFF_MAGIC 0x444E4148u /* "HAND" */
#define CRASHES_MAX 3 /* so many in a row without a healthy second: the loader keeps the port */

enum { REQUEST_NONE, REQUEST_RESET, REQUEST_LOADER };

typedef struct {
    uint32_t magic; /* anything else: the power was off */
    uint32_t request;
    uint32_t crashes;  /* watchdog resets and faults since the application was last healthy */
    uint32_t fault_pc; /* of the last fault, 0: none */
    uint8_t slot, trial, reset_cause, major, minor, pad;
    uint16_t revision;
    uint32_t build;
    uint8_t hash[8];
} handoff;

#define HANDOFF ((volatile handoff *)(uintptr_t)BOARD_HANDOFF)

#endif
