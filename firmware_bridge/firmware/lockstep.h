/* A core for lockstep: time is what the caller says, and every tick sees exactly its own. */
#ifndef COMPANION_LOCKSTEP_H
#define COMPANION_LOCKSTEP_H

#include "core.h"

void lockstep_init(core *c, const limit_table *limits, plant *p, uint64_t clock_start_us,
                   uint32_t boot_id, const uint8_t *uid);
void lockstep_identify(core *c, const core_identity *identity);
void lockstep_port(core *c, const core_port *port); /* what only a port can do, from the caller */
void lockstep_run(core *c, uint64_t until_us);
void lockstep_receive(core *c, const uint8_t *data, uint32_t size);
uint32_t lockstep_transmit(core *c, uint8_t *out, uint32_t space); /* returns bytes moved */

#endif
