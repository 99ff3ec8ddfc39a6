/* The whole MCU core: bytes, messages of every type with the right session or a wrong one, sensors,
 * time and a slow reader, in any order; after each step what must always hold is checked. */
#include "core.h"
#include "fuzz.h"
#include "limits_gen.h"

static core c;
static plant p;
static limit_table wide;
static uint64_t now_us;
static uint8_t rebooted;

static void on_reboot(void *context, uint8_t target) {
    (void)context;
    check(target <= REBOOT_LOADER && c.mode == MODE_SAFE, "reboots from SAFE, to what there is");
    rebooted++;
}

static void on_smp(void *context, const uint8_t *body, size_t size) {
    check(body[0] < SMP_LIMIT && size >= 1 && size <= MAX_SMP, "an update frame within its bounds");
    core_send_body(context, body, size);
}

static void give(const uint8_t *body, size_t size) {
    uint8_t frame[FRAME_SIZE(MAX_SMP)];
    core_receive(&c, now_us, frame, frame_encode(body, size, frame));
}

/* Payload of a message; what the input does not spoil is what the core wants to hear. */
static void message(input *in) {
    static const struct { uint8_t type; uint16_t size; uint8_t session, layout; } KINDS[] = {
        {MSG_HELLO, sizeof(msg_hello), 0, 0}, {MSG_SYNC_REQ, sizeof(msg_sync_req), 0, 0},
        {MSG_HEARTBEAT, sizeof(msg_heartbeat), 1, 0}, {MSG_ARM, sizeof(msg_arm), 1, 1},
        {MSG_ESTOP, 1, 0, 0}, {MSG_ESTOP_CLEAR, sizeof(msg_estop_clear), 1, 0}, {MSG_MOTION, 0, 2, 0},
        {MSG_PARAM_GET, sizeof(msg_param_get), 0, 0}, {MSG_PARAM_SET, sizeof(msg_param_set), 1, 0},
        {MSG_REBOOT, sizeof(msg_reboot), 1, 0},
    };
    uint8_t body[MAX_BODY] = {0};
    uint8_t pick = byte(in), honest = byte(in);
    uint8_t kind = pick % (sizeof KINDS / sizeof *KINDS);
    size_t size = KINDS[kind].type == MSG_MOTION ? MOTION_FIXED + c.limits->joints * sizeof(motion_item)
                                                 : KINDS[kind].size;
    uint32_t t_us = (uint32_t)now_us, schema = SCHEMA_CRC, magic = REBOOT_MAGIC;
    body[0] = KINDS[kind].type;
    body[1] = honest;
    memcpy(body + 2, &t_us, 4);
    uint8_t *payload = body + HEADER_SIZE;
    fill(in, payload, size);
    if (honest & 1) {
        memcpy(payload, &c.session, KINDS[kind].session == 1 ? 4 : KINDS[kind].session);
    }
    if (honest & 1 && KINDS[kind].layout) {
        memcpy(payload + 6, &c.limits->layout_crc, 4);
    }
    if (honest & 2 && body[0] == MSG_HELLO) {
        payload[0] = PROTOCOL_MAJOR;
        memcpy(payload + 6, &schema, 4);
    } else if (honest & 2 && body[0] == MSG_REBOOT) {
        memcpy(payload + 4, &magic, 4);
    } else if (honest & 2 && body[0] == MSG_ESTOP_CLEAR) {
        memcpy(payload + 4, &c.identity.boot_id, 4);
    } else if (honest & 2 && body[0] == MSG_MOTION) {
        payload[2] = 60;
        payload[3] = 0;
    }
    size += HEADER_SIZE + (honest & 128 ? pick & 7 : 0); /* and sometimes the size is wrong */
    give(body, size < MAX_BODY ? size : MAX_BODY);
}

static void sense(input *in) {
    static plant_sensors s;
    uint8_t what = byte(in), joint = byte(in) % PLANT_JOINTS;
    if (what == 0) {
        memset(&s, 0, sizeof s);
        s.stop_input = 1;
    } else if (what & 1) {
        fill(in, &s.position[joint], 4);
        fill(in, &s.velocity[joint], 4);
        fill(in, &s.current_ma[joint], 2);
    } else if (what & 2) {
        fill(in, s.accel_m_s2, sizeof s.accel_m_s2 + sizeof s.gyro_rad_s);
    } else {
        fill(in, &s.battery_mv, sizeof s - offsetof(plant_sensors, battery_mv));
    }
    s.imu_seq += (what & 128) == 0;
    plant_write_sensors(&p, &s);
}

static void read_all(void) {
    frame_splitter splitter = {0};
    uint8_t body[MAX_FRAME];
    size_t size;
    const uint8_t *pending = core_pending(&c, &size);
    for (size_t i = 0; i < size; i++) {
        if (frame_split(&splitter, pending[i]) == SPLIT_FRAME) {
            check(frame_decode(splitter.bytes, splitter.used, body) > 0, "the core says whole frames");
            frame_taken(&splitter);
        }
    }
    check(splitter.used == 0, "and nothing between them");
    core_sent(&c, size);
}

static void invariants(void) {
    check(c.tx_used <= CORE_TX_SIZE, "the port's memory");
    check(c.mode <= MODE_BENCH, "a mode that there is");
    check(!c.latched || c.mode == MODE_SAFE, "what is latched does not drive");
    check(!core_driving(&c) || c.session, "without a session nothing drives");
    for (uint32_t j = 0; j < c.limits->joints; j++) {
        const joint_limit *l = &c.limits->joint[j];
        int32_t target = c.outputs.target[j];
        int32_t reach = l->velocity_joint ? l->velocity_max : LIMIT_REACH;
        check(target <= reach && target >= -reach, "targets within reach");
        check(c.outputs.current_limit_ma[j] <= l->current_max_ma, "current within the body's");
    }
    for (uint32_t i = 0; i < PARAMS; i++) {
        static const struct { int32_t low, high, start; } ROWS[] = PARAM_ROWS;
        check(c.param[i] >= ROWS[i].low && c.param[i] <= ROWS[i].high, "parameters within their range");
    }
}

static void forward(uint64_t us) {
    now_us += us;
    core_run(&c, now_us);
    check((c.latched & FAULT_STOP_INPUT) == 0 || !c.outputs.enable, "an open stop input cuts");
}

static void begin(uint8_t flavour) {
    const core_identity identity = {.boot_id = 7};
    wide = LIMITS;
    for (uint32_t j = LIMITS.joints; j < LIMIT_JOINTS; j++) {
        wide.joint[j] = LIMITS.joint[j % LIMITS.joints];
    }
    wide.joints = LIMIT_JOINTS;
    memset(&p, 0, sizeof p);
    plant_init(&p);
    now_us = flavour & 2 ? 0 : (UINT64_C(1) << 32) - 3000000u;
    core_init(&c, flavour & 1 ? &wide : &LIMITS, &p, &identity, now_us);
    if (flavour & 4) {
        c.port = (core_port){.reboot = on_reboot, .smp = on_smp, .context = &c};
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t body[MAX_SMP + 1];
    fuzzed_bytes += size;
    fuzzed_runs++;
    input in = {data, size};
    begin(byte(&in));
    while (in.left) {
        uint8_t op = byte(&in);
        size_t length = op >> 3;
        switch (op & 7) {
        case 0: forward(1000u * (1 + length)); break;
        case 1: forward(byte(&in) * UINT64_C(257)); break;
        case 2: sense(&in); break;
        case 3: read_all(); break;
        case 4: {
            const uint8_t *raw = bytes(&in, &length);
            core_receive(&c, now_us, raw, length);
            break;
        }
        case 5: /* any frame with a true CRC; the longest are SMP's */
            length = length == 31 ? MAX_SMP + 1 : 1 + length * 8;
            fill(&in, body, length);
            give(body, length < MAX_SMP ? length : MAX_SMP);
            break;
        default: message(&in);
        }
        invariants();
    }
    core_log(&c, LOG_LEVEL_INFO, "end");
    core_healthy(&c);
    read_all();
    core_park(&c);
    check(!c.outputs.enable, "parked");
    return 0;
}
