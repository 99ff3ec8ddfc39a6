/* Parameters: ranges come from protocol.py; a host may only tighten, and only while nothing drives. */
#include "core.h"

#define BENCH_CURRENT_PERMILLE 100

typedef struct {
    int32_t low, high, start;
} param_row;

static const param_row ROWS[PARAMS] = PARAM_ROWS;

static bool known(uint16_t id) { return id < PARAMS; }

void core_params_reset(core *c) {
    for (uint32_t i = 0; i < PARAMS; i++) {
        c->param[i] = ROWS[i].start;
    }
}

/* A joint's current limit now: the body's, the host's parameter, a tenth on the bench. */
int32_t core_current_ma(const core *c, uint32_t joint) {
    int32_t permille = c->param[PARAM_CURRENT_PERMILLE];
    if (c->mode == MODE_BENCH && permille > BENCH_CURRENT_PERMILLE) {
        permille = BENCH_CURRENT_PERMILLE;
    }
    return c->limits->joint[joint].current_max_ma * permille / 1000;
}

uint32_t core_param_set(core *c, uint16_t id, int32_t value) {
    if (!known(id)) {
        return ACK_NO_PARAM;
    }
    if (core_driving(c) || c->outputs.enable) { /* a stop ramp needs its current */
        return ACK_BAD_MODE;
    }
    if (value < ROWS[id].low || value > ROWS[id].high) {
        return ACK_OUT_OF_RANGE;
    }
    c->param[id] = value;
    return ACK_OK;
}

void core_param_send(core *c, uint16_t id, uint32_t code) {
    msg_param m = {.id = id, .code = ACK_NO_PARAM};
    if (known(id)) {
        m.code = (uint16_t)code;
        m.value = c->param[id];
        m.low = ROWS[id].low;
        m.high = ROWS[id].high;
    }
    core_send(c, MSG_PARAM, c->now_us, &m, sizeof m);
}
