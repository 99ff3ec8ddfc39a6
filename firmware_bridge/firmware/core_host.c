/* The host's messages. */
#include "bytes.h"
#include "core.h"

#define TTL_MIN_MS 20
#define QUIET_US 1000000 /* after each update frame; a HELLO ends it */
#define FUTURE_US 10000 /* an issue time further ahead means a wrong clock, and would outlive its ttl */

typedef struct {
    uint8_t type, seq;
    uint32_t t_us;
    const uint8_t *payload;
    size_t size;
} frame;

static void acknowledge(core *c, const frame *f, uint32_t code) {
    msg_ack ack = {.of_type = f->type, .of_seq = f->seq, .code = (uint16_t)code, .value = c->mode};
    core_send(c, MSG_ACK, c->now_us, &ack, sizeof ack);
}

/* What was commanded before is no measure of what comes. */
static void forget_motion(core *c) {
    c->motion_until_us = 0;
    c->motion_issue_us = 0;
}

static void on_hello(core *c, const frame *f) {
    msg_hello m;
    memcpy(&m, f->payload, sizeof m);
    if (c->identity.boot_id == 0) { /* a port without a source of chance: the first host's nonce is one */
        c->identity.boot_id = m.nonce ? m.nonce : 1;
    }
    c->quiet_us = 0;
    bool same = m.major == PROTOCOL_MAJOR && m.schema == SCHEMA_CRC;
    if (!same || !c->session || m.nonce != c->nonce) {
        core_leave(c, MODE_SAFE);
        core_params_reset(c);
        c->nonce = m.nonce;
        c->fault_news = true; /* a new host learns at once what is latched */
        c->session = 0;
        c->synced = false;
        forget_motion(c);
        c->latched &= ~(uint32_t)FAULT_HEARTBEAT;
        c->cut_by_latch = c->latched ? c->cut_by_latch : STOP_NONE;
    }
    if (same && !c->session) {
        uint32_t chance = m.nonce ^ c->identity.boot_id * 31u ^ (uint32_t)c->now_us;
        uint32_t mixed = chance * 2654435761u + ++c->hellos;
        c->session = mixed ? mixed : 1;
    }
    c->heartbeat_us = c->now_us;
    msg_hello_ack ack = {
        .major = PROTOCOL_MAJOR, .minor = PROTOCOL_MINOR, .reset_cause = c->identity.reset_cause,
        .slot = c->identity.slot, .nonce = m.nonce, .session = c->session,
        .boot_id = c->identity.boot_id, .version_major = c->identity.version_major,
        .version_minor = c->identity.version_minor, .version_patch = c->identity.version_patch,
        .schema = SCHEMA_CRC,
        .layout = c->limits->layout_crc, .caps = c->limits->joints,
    };
    memcpy(ack.image, c->identity.image, sizeof ack.image);
    memcpy(ack.uid, c->identity.uid, sizeof ack.uid);
    core_send(c, MSG_HELLO_ACK, c->now_us, &ack, sizeof ack);
}

static void on_sync(core *c, const frame *f) {
    msg_sync_req m;
    memcpy(&m, f->payload, sizeof m);
    c->synced = true;
    c->sync_us = c->now_us;
    msg_sync_rsp reply = {.host_t0_ns = m.host_t0_ns, .rx_us = c->now_us, .tx_us = c->now_us};
    core_send(c, MSG_SYNC_RSP, c->now_us, &reply, sizeof reply);
}

static void on_heartbeat(core *c, const frame *f) {
    msg_heartbeat m;
    memcpy(&m, f->payload, sizeof m);
    if (m.session == c->session) {
        c->heartbeat_us = c->now_us;
    }
}

static uint32_t may_arm(const core *c, const msg_arm *m) {
    if (m->layout != c->limits->layout_crc) {
        return ACK_WRONG_LAYOUT;
    }
    if (c->identity.trial && m->mode != MODE_IDLE) {
        return ACK_ON_TRIAL; /* an image that may go back at any moment drives nothing */
    }
    if (c->latched) {
        return ACK_LATCHED;
    }
    if (m->mode == MODE_IDLE) {
        return ACK_OK;
    }
    bool other = core_driving(c) && c->mode != m->mode; /* no way past rest from one to the other */
    if (other || (m->mode != MODE_ACTIVE && m->mode != MODE_BENCH)) {
        return ACK_BAD_MODE;
    }
    uint32_t harmless = FAULT_IMU_GAP;
    if (m->mode == MODE_BENCH) {
        harmless |= FAULT_CLIFF | FAULT_LIFT;
    }
    if (c->active & ~harmless) {
        return c->active & FAULT_SENSORS ? ACK_NO_SENSORS : ACK_CAUSE_PRESENT;
    }
    if (!core_sync_valid(c)) {
        return ACK_NOT_SYNCED;
    }
    return core_flags(c) & STATE_FLAG_HEARTBEAT_LATE ? ACK_NO_HEARTBEAT : ACK_OK;
}

static void on_arm(core *c, const frame *f) {
    msg_arm m;
    memcpy(&m, f->payload, sizeof m);
    uint32_t code = ACK_NO_SESSION;
    if (m.session == c->session) {
        code = m.mode == MODE_SAFE ? ACK_OK : may_arm(c, &m);
    }
    bool drives = m.mode == MODE_ACTIVE || m.mode == MODE_BENCH;
    if (code == ACK_OK && !drives) {
        core_leave(c, m.mode);
    } else if (code == ACK_OK && c->mode != m.mode) {
        core_start_pose(c);
        forget_motion(c);
        c->mode = m.mode;
    }
    acknowledge(c, f, code);
}

static void on_clear(core *c, const frame *f) {
    msg_estop_clear m;
    memcpy(&m, f->payload, sizeof m);
    uint32_t code = ACK_OK;
    if (m.session != c->session) {
        code = ACK_NO_SESSION;
    } else if (m.boot_id != c->identity.boot_id) {
        code = ACK_WRONG_BOOT;
    } else if (c->mode != MODE_SAFE) {
        code = ACK_BAD_MODE;
    } else if (c->active & c->latched) { /* another cause that stands keeps ARM from it, not a clear */
        code = ACK_CAUSE_PRESENT;
    } else {
        c->fault_news = c->latched != 0;
        c->latched = 0;
        c->cut_by_latch = STOP_NONE;
        c->mode = MODE_IDLE;
    }
    acknowledge(c, f, code);
}

static uint32_t may_move(const core *c, const msg_motion *m, uint32_t t_us, int32_t age_us) {
    if (m->session_lo != (c->session & 0xFFFF)) {
        return ACK_NO_SESSION;
    }
    if (!core_driving(c)) {
        return c->latched ? ACK_LATCHED : ACK_NOT_ACTIVE;
    }
    bool one = m->mask != 0 && (m->mask & (m->mask - 1u)) == 0 && m->mask >> c->limits->joints == 0;
    if (c->mode == MODE_BENCH && !one) {
        return ACK_ONE_JOINT;
    }
    if (t_us == 0 || !core_sync_valid(c)) {
        return ACK_NOT_SYNCED;
    }
    if (m->ttl_ms < TTL_MIN_MS || m->ttl_ms > c->param[PARAM_TTL_MAX_MS]) {
        return ACK_BAD_TTL;
    }
    if (age_us < -FUTURE_US) {
        return ACK_FROM_FUTURE;
    }
    if (age_us >= m->ttl_ms * 1000) {
        return ACK_STALE;
    }
    return c->now_us - (uint64_t)(int64_t)age_us < c->motion_issue_us ? ACK_REORDERED : ACK_OK;
}

static void on_motion(core *c, const frame *f) {
    msg_motion m;
    uint32_t code = ACK_BAD_SIZE;
    int32_t age_us = (int32_t)((uint32_t)c->now_us - f->t_us);
    if (f->size == MOTION_FIXED + c->limits->joints * sizeof(motion_item)) {
        memcpy(&m, f->payload, f->size);
        code = may_move(c, &m, f->t_us, age_us);
    }
    c->motion_refused = (uint8_t)code;
    if (code != ACK_OK) {
        c->counters.motion_refused++;
        c->counters.motion_stale += code == ACK_STALE;
        return;
    }
    c->counters.motion_ok++;
    c->motion_seq = f->seq;
    c->motion_given = true;
    c->motion_issue_us = c->now_us - (uint64_t)(int64_t)age_us;
    c->motion_until_us = c->motion_issue_us + m.ttl_ms * 1000u;
    for (uint32_t j = 0; j < c->limits->joints; j++) {
        if (m.mask >> j & 1u) {
            c->target[j] = m.item[j].target;
        } else if (c->mode == MODE_BENCH) { /* the joint that was moved before comes to rest */
            c->target[j] = c->limits->joint[j].velocity_joint ? 0 : c->outputs.target[j];
        }
    }
}

static void on_param_get(core *c, const frame *f) {
    msg_param_get m;
    memcpy(&m, f->payload, sizeof m);
    core_param_send(c, m.id, ACK_OK);
}

static void on_param_set(core *c, const frame *f) {
    msg_param_set m;
    memcpy(&m, f->payload, sizeof m);
    core_param_send(c, m.id, m.session == c->session ? core_param_set(c, m.id, m.value) : ACK_NO_SESSION);
}

static void on_reboot(core *c, const frame *f) {
    msg_reboot m;
    memcpy(&m, f->payload, sizeof m);
    uint32_t code = ACK_OK;
    if (m.session != c->session) {
        code = ACK_NO_SESSION;
    } else if (m.magic != REBOOT_MAGIC || m.target > REBOOT_LOADER) {
        code = ACK_BAD_MAGIC;
    } else if (c->mode != MODE_SAFE || c->port.reboot == NULL) {
        code = ACK_BAD_MODE;
    }
    acknowledge(c, f, code);
    if (code == ACK_OK) {
        c->port.reboot(c->port.context, m.target);
    }
}

typedef void (*handler)(core *, const frame *);

/* Fixed-size messages by type; a wrong size counts as broken. */
static handler find(uint8_t type, size_t *size) {
    switch (type) {
    case MSG_HELLO: *size = sizeof(msg_hello); return on_hello;
    case MSG_SYNC_REQ: *size = sizeof(msg_sync_req); return on_sync;
    case MSG_HEARTBEAT: *size = sizeof(msg_heartbeat); return on_heartbeat;
    case MSG_ARM: *size = sizeof(msg_arm); return on_arm;
    case MSG_ESTOP_CLEAR: *size = sizeof(msg_estop_clear); return on_clear;
    case MSG_PARAM_GET: *size = sizeof(msg_param_get); return on_param_get;
    case MSG_PARAM_SET: *size = sizeof(msg_param_set); return on_param_set;
    case MSG_REBOOT: *size = sizeof(msg_reboot); return on_reboot;
    default: return NULL;
    }
}

static void count_gap(core *c, uint8_t seq) {
    if (c->rx_started) {
        c->counters.rx_lost += (uint8_t)(seq - c->rx_seq - 1);
    }
    c->rx_started = true;
    c->rx_seq = seq;
}

void core_handle(core *c, const uint8_t *body, size_t size) {
    if (body[0] < SMP_LIMIT) {
        if (c->port.smp != NULL) {
            c->quiet_us = c->now_us + QUIET_US;
            c->port.smp(c->port.context, body, size);
        }
        return;
    }
    if (size < HEADER_SIZE || size > MAX_BODY) {
        c->counters.rx_bad++;
        return;
    }
    c->rx_started &= body[0] != MSG_HELLO; /* a host that begins anew counts anew */
    count_gap(c, body[1]);
    frame f = {.type = body[0], .seq = body[1], .payload = body + HEADER_SIZE,
               .size = size - HEADER_SIZE};
    memcpy(&f.t_us, body + 2, 4);
    size_t wanted = 0;
    handler handle = find(f.type, &wanted);
    if (f.type == MSG_ESTOP) { /* in any state, whatever its payload */
        core_latch(c, FAULT_ESTOP, STOP_RAMP, f.size ? f.payload[0] : 0);
    } else if (f.type == MSG_MOTION) {
        on_motion(c, &f);
    } else if (handle == NULL || f.size != wanted) {
        c->counters.rx_bad++;
    } else if (c->session || f.type == MSG_HELLO) {
        handle(c, &f);
    }
}

void core_receive(core *c, uint64_t now_us, const uint8_t *data, size_t size) {
    core_run(c, now_us); /* ticks that were due before these bytes must not see them */
    c->now_us = now_us > c->now_us ? now_us : c->now_us;
    for (size_t i = 0; i < size; i++) {
        split_result result = frame_split(&c->rx, data[i]);
        if (result == SPLIT_OVERRUN) {
            c->counters.rx_overrun++;
        }
        if (result != SPLIT_FRAME) {
            continue;
        }
        int length = frame_decode(c->rx.bytes, c->rx.used, c->body);
        frame_taken(&c->rx);
        if (length < 0) {
            c->counters.rx_bad++;
        } else {
            c->counters.rx_ok++;
            core_handle(c, c->body, (size_t)length);
        }
    }
}
