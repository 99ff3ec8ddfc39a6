/* Telemetry: IMU and STATE back to back once per control period; the rest in between. */
#include "bytes.h"
#include "core.h"

#define HOST_GONE_US 3000000

void core_send_body(core *c, const uint8_t *body, size_t size) {
    if (c->tx_used + FRAME_SIZE(size) > CORE_TX_SIZE) {
        c->counters.tx_dropped++; /* nobody reads: what is new is lost, what is queued stays whole */
        return;
    }
    c->tx_used += frame_encode(body, size, c->tx + c->tx_used);
}

void core_send(core *c, uint8_t type, uint64_t t_us, const void *payload, size_t size) {
    uint8_t body[MAX_BODY];
    uint32_t low = (uint32_t)t_us;
    body[0] = type;
    body[1] = c->tx_seq++;
    memcpy(body + 2, &low, 4);
    memcpy(body + HEADER_SIZE, payload, size);
    core_send_body(c, body, HEADER_SIZE + size);
}

void core_log(core *c, uint8_t level, const char *text) {
    msg_log m = {.level = level};
    for (size_t i = 0; i < sizeof m.text && text[i]; i++) {
        m.text[i] = (uint8_t)text[i];
    }
    if (c->session && c->tx_used < CORE_TX_SIZE / 2) { /* the first to be dropped */
        core_send(c, MSG_LOG, c->now_us, &m, sizeof m);
    }
}

const uint8_t *core_pending(const core *c, size_t *size) {
    *size = c->tx_used;
    return c->tx;
}

void core_sent(core *c, size_t size) {
    size = size < c->tx_used ? size : c->tx_used;
    c->tx_used -= size;
    memmove(c->tx, c->tx + size, c->tx_used);
}

static int16_t narrow(int32_t x) {
    return (int16_t)(x > 32767 ? 32767 : (x < -32767 ? -32767 : x));
}

static uint16_t milliseconds(uint64_t us) {
    return (uint16_t)(us / 1000 > 65535 ? 65535 : us / 1000);
}

static void send_state(core *c) {
    const plant_sensors *s = &c->sensors;
    msg_state m = {
        .mode = c->mode, .motion_seq = c->motion_seq, .flags = (uint16_t)core_flags(c),
        .limited = (uint16_t)c->limited,
        .range_mm = c->limits->has_range ? s->range_mm : 0xFFFF,
        .cliff = s->cliff, .bumper = s->bumper, .stop_ok = s->stop_input,
        .refused = c->motion_refused,
        .ttl_left_ms = milliseconds(c->motion_given ? c->motion_until_us - c->now_us : 0),
        .age_ms = c->motion_issue_us ? milliseconds(c->now_us - c->motion_issue_us) : 0xFFFF,
    };
    for (uint32_t j = 0; j < c->limits->joints; j++) {
        m.item[j].position = s->position[j];
        m.item[j].velocity = narrow(s->velocity[j]);
        m.item[j].current = s->current_ma[j];
    }
    core_send(c, MSG_STATE, c->now_us, &m, STATE_FIXED + c->limits->joints * sizeof(state_item));
}

static void send_imu(core *c) {
    c->batch.temperature = (int16_t)(c->sensors.temperature_c * 100);
    core_send(c, MSG_IMU, c->batch_us, &c->batch, IMU_FIXED + c->batch.n * sizeof(imu_item));
    c->batch.n = 0;
}

static void send_power(core *c) {
    const plant_sensors *s = &c->sensors;
    msg_power m = {
        .voltage = s->battery_mv, .current = s->battery_ma, .soc = s->soc,
        .used = (uint32_t)(c->energy_nj / UINT64_C(3600000000)),
        .temperature = s->temperature_c,
    };
    core_send(c, MSG_POWER, c->now_us, &m, sizeof m);
}

static void send_fault(core *c) {
    msg_fault m = {
        .active = c->active, .latched = c->latched, .first_t_us = c->first_fault_us,
        .code = (uint16_t)c->fault_code, .detail = (uint16_t)c->fault_detail,
    };
    c->fault_news = false;
    core_send(c, MSG_FAULT, c->now_us, &m, sizeof m);
}

static void send_health(core *c) {
    const core_counters *n = &c->counters;
    msg_health m = {
        .rx_ok = n->rx_ok, .rx_bad = n->rx_bad, .rx_overrun = n->rx_overrun,
        .rx_lost = n->rx_lost, .tx_dropped = n->tx_dropped, .motion_ok = n->motion_ok, .motion_stale = n->motion_stale,
        .motion_refused = n->motion_refused, .catch_up = n->catch_up,
        .late_max_us = n->late_max_us,
    };
    core_send(c, MSG_HEALTH, c->now_us, &m, sizeof m);
}

void core_report(core *c, uint64_t number) {
    /* A host that speaks another schema could read none of it, one that is gone need not, and an
     * update must not have to pick its answers out of it. */
    bool open = c->session != 0 && c->now_us >= c->quiet_us && core_host_age_us(c) < HOST_GONE_US;
    if (number % (c->limits->control_period_us / TICK_US) == 0) {
        if (open) {
            send_imu(c);
            send_state(c);
        }
        c->batch.n = 0;
    }
    if (!open) {
        return;
    }
    if (c->fault_news || number % 1000 == 333) {
        send_fault(c);
    }
    if (number % 200 == 103) {
        send_power(c);
    }
    if (number % 1000 == 733) {
        send_health(c);
    }
}
