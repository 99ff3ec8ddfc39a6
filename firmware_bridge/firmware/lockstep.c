#include "lockstep.h"

#include <string.h>

/* Called in the middle of a frame: the reset itself comes when the bytes at hand are done. */
static void on_reboot(void *context, uint8_t target) {
    (void)target; /* there is no loader here: the application starts again */
    ((core *)context)->port.reboot = NULL;
}

static void begin(core *c, const limit_table *limits, plant *p, const core_identity *identity,
                  uint64_t clock_start_us) {
    core_init(c, limits, p, identity, clock_start_us);
    c->port.reboot = on_reboot;
    c->port.context = c;
}

static void restart(core *c) {
    core_identity identity = c->identity;
    identity.boot_id++;
    identity.reset_cause = RESET_CAUSE_SOFTWARE;
    uint8_t tx[CORE_TX_SIZE]; /* a board sends its answer before it resets */
    size_t used = c->tx_used;
    memcpy(tx, c->tx, used);
    core_park(c);
    begin(c, c->limits, c->plant, &identity, c->now_us);
    memcpy(c->tx, tx, used);
    c->tx_used = used;
}

void lockstep_init(core *c, const limit_table *limits, plant *p, uint64_t clock_start_us,
                   uint32_t boot_id, const uint8_t *uid) {
    core_identity identity = {.boot_id = boot_id};
    memcpy(identity.uid, uid, sizeof identity.uid);
    begin(c, limits, p, &identity, clock_start_us);
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
    if (c->port.context == c && c->port.reboot == NULL) {
        restart(c);
    }
}

uint32_t lockstep_transmit(core *c, uint8_t *out, uint32_t space) {
    size_t size;
    const uint8_t *pending = core_pending(c, &size);
    size = size < space ? size : space;
    memcpy(out, pending, size);
    core_sent(c, size);
    return (uint32_t)size;
}
