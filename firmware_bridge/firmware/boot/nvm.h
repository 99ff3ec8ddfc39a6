/* Non-volatile memory as the update code sees it: NOR flash, read in place, written after an erase.
 * Offsets count from NVM_BASE of the board; a port implements these three, a host build maps a file. */
#ifndef COMPANION_NVM_H
#define COMPANION_NVM_H

#include <stdbool.h>
#include <stdint.h>

#include "board_gen.h"

const uint8_t *nvm_at(uint32_t offset);
/* Whole sectors to 0xFF. */
bool nvm_erase(uint32_t offset, uint32_t size);
/* Bits go from 1 to 0 only; false when what stands there afterwards differs. */
bool nvm_write(uint32_t offset, const void *data, uint32_t size);
/* Between long steps of a check: the port feeds its watchdog. */
void nvm_pause(void);

#endif
