#include "lockstep.h"

#include <string.h>

void lockstep_init(core *c, const limit_table *limits, plant *p, uint64_t clock_start_us,
                   uint32_t boot_id, const uint8_t *uid) {
    core_identity identity = {.boot_id = boot_id};
    memcpy(identity.uid, uid, sizeof identity.uid);
    core_init(c, limits, p, &identity, clock_start_us);
}

void lockstep_identify(core *c, const core_identity *identity) { c->identity = *identity; }

void lockstep_port(core *c, const core_port *port) { c->port = *port; }

void lockstep_run(core *c, uint64_t until_us) {
    while (c->next_tick_us <= until_us) {
        core_run(c, c->next_tick_us);
    }
    c->now_us = until_us > c->now_us ? until_us : c->now_us;
}

void lockstep_receive(core *c, const uint8_t *data, uint32_t size) {
    core_receive(c, c->now_us, data, size);
}

uint32_t lockstep_transmit(core *c, uint8_t *out, uint32_t space) {
    size_t size;
    const uint8_t *pending = core_pending(c, &size);
    size = size < space ? size : space;
    memcpy(out, pending, size);
    core_sent(c, size);
    return (uint32_t)size;
}
